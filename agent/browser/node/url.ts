/** Of `node:url`: a page's addresses are its paths. */
export const fileURLToPath = (url: string | URL): string => String(url)
