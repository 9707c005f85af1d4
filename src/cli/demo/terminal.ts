/**
 * Paints lines on a terminal. It uses the alternate screen, so that the user's own comes back as it was. It writes only
 * lines that have changed, so that nothing flickers and a command selected with the mouse stays selected.
 */
const ESC = '\x1b['
const ENTER = `${ESC}?1049h${ESC}?25l${ESC}2J`
const LEAVE = `${ESC}?25h${ESC}?1049l`

/** Makes words in capitals at the beginning of a line bold. Lines hold only printable characters. */
const emphasized = (line: string): string => line.replace(/^[A-Z]{2,}(?: [A-Z]{2,})*\b/, `${ESC}1m$&${ESC}0m`)

export class Terminal {
  readonly #write: (text: string) => void
  readonly #colours: boolean
  #shown: string[] = []
  #entered = false

  /** @param colours if false, nothing is bold either, as NO_COLOR asks (no-color.org) */
  constructor(write: (text: string) => void, colours: boolean) {
    this.#write = write
    this.#colours = colours
  }

  paint(lines: readonly string[]): void {
    let out = this.#entered ? '' : ENTER
    this.#entered = true
    for (let i = 0; i < Math.max(lines.length, this.#shown.length); i++) {
      const line = lines[i] ?? ''
      if (line === this.#shown[i]) continue
      out += `${ESC}${i + 1};1H${this.#colours ? emphasized(line) : line}${ESC}K`
    }
    this.#shown = [...lines]
    if (out !== '') this.#write(out)
  }

  /** To be called when the window has another size: what was painted can no longer be relied on. */
  resized(): void {
    this.#shown = []
    if (this.#entered) this.#write(`${ESC}2J`)
  }

  /** Gives the screen and the cursor back. */
  leave(): void {
    if (this.#entered) this.#write(LEAVE)
    this.#entered = false
    this.#shown = []
  }
}
