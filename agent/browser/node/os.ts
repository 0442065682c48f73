/** Of `node:os`: seconds since this page was opened, which is all that a page can know. */
export const uptime = (): number => performance.now() / 1000
