/** Shows the demo while it runs: as a screen on a terminal, as lines anywhere else. */
import { introduction, render, report, type ScreenState } from './screen.ts'
import { Terminal } from './terminal.ts'

const REPORT_EVERY_S = 5

export interface Show {
  end(): void
}

export function showOnTerminal(state: () => ScreenState): Show {
  const { stdout, env } = process
  const terminal = new Terminal((text) => void stdout.write(text), !env.NO_COLOR)
  // The last row stays free: a character in its last column would scroll the screen.
  const size = () => ({ columns: stdout.columns || 80, rows: (stdout.rows || 24) - 1 })
  let shown = state()
  const paint = (): void => terminal.paint(render(shown, size()))
  const resized = (): void => {
    terminal.resized()
    paint()
  }
  const timer = setInterval(() => {
    shown = state()
    paint()
  }, 1000)
  paint()
  stdout.on('resize', resized)
  // However the process ends, the terminal gets its cursor back.
  process.once('exit', () => terminal.leave())
  return {
    end() {
      clearInterval(timer)
      stdout.off('resize', resized)
      terminal.leave()
    },
  }
}

export function showAsLines(state: () => ScreenState): Show {
  console.log(`${introduction(state()).join('\n')}\n`)
  let ticks = 0
  const timer = setInterval(() => {
    const latest = state()
    ticks++
    if (ticks % REPORT_EVERY_S === 0) console.log(`${report(latest).join('\n')}\n`)
  }, 1000)
  return { end: () => clearInterval(timer) }
}
