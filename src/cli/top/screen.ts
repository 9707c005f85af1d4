/** The terminal that `spillway top` shows its table on, and Ctrl-C. */
import { Terminal } from '../demo/terminal.ts'

export interface Screen {
  /** Whether it can be painted on; otherwise it is a pipe or a file. */
  readonly isTerminal: boolean
  size(): { readonly columns: number; readonly rows: number }
  paint(lines: readonly string[]): void
  /** Resolves after so many milliseconds, or at once when the user wants to end. @returns whether to go on */
  wait(ms: number): Promise<boolean>
  /** Gives the screen back. */
  leave(): void
}

const USUAL = { columns: 80, rows: 24 }

export function terminalScreen(): Screen {
  const { stdout, env } = process
  const terminal = new Terminal((text) => void stdout.write(text), !env.NO_COLOR)
  let isOver = false
  let wake = (): void => undefined
  const end = (): void => {
    // A node that does not answer is waited for, unless the user insists.
    if (isOver) {
      terminal.leave()
      process.exit(1)
    }
    isOver = true
    wake()
  }
  const resized = (): void => terminal.resized()
  let isWatched = false
  /** Only whoever paints takes the signals: a single question ends by them as every program does. */
  const watch = (): void => {
    if (isWatched) return
    isWatched = true
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end)
    stdout.on('resize', resized)
  }
  return {
    isTerminal: stdout.isTTY === true,
    size: () => ({ columns: stdout.columns || USUAL.columns, rows: stdout.rows || USUAL.rows }),
    paint(lines) {
      watch()
      terminal.paint(lines)
    },
    wait: (ms) =>
      new Promise((resolve) => {
        const done = (): void => {
          clearTimeout(timer)
          resolve(!isOver)
        }
        const timer = setTimeout(done, ms)
        wake = done
        if (isOver) done()
      }),
    leave: () => terminal.leave(),
  }
}
