import { SingleBar } from 'cli-progress'

export interface Progress {
  update(done: number, of: number): void
  stop(): void
}

/** A bar on a terminal, plain lines elsewhere; always on standard error. */
export function startProgress(what: string): Progress {
  if (process.stderr.isTTY) {
    const bar = new SingleBar({
      format: `${what} {bar} {percentage} %  {value}/{total}  {eta_formatted} left`,
      stream: process.stderr,
      hideCursor: true,
    })
    bar.start(1, 0)
    return {
      update(done, of) {
        bar.setTotal(of)
        bar.update(done)
      },
      stop: () => bar.stop(),
    }
  }
  return {
    update: (done, of) => process.stderr.write(`${what}: ${done} of ${of}\n`),
    stop: () => {},
  }
}
