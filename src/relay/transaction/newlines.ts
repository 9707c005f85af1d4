/**
 * Corrects what servers read differently in a message, on its way to the mail server: a bare LF becomes CRLF, a bare CR becomes a
 * space, and a dot before a NUL at the start of a line is removed.
 *
 * Only CRLF ends a line (RFC 5321 section 2.3.8), and only CRLF.CRLF ends a message. If one server takes LF.CRLF for the end and
 * the next one does not, what follows is part of the message to the one and a smuggled second transaction to the other
 * (CVE-2023-51764). So no bare newline goes on. If a dot comes to stand alone on a line because a bare LF became CRLF, it is
 * stuffed (section 4.5.2): the message goes on after it, as it did before.
 *
 * Like Postfix's smtpd_forbid_bare_newline=normalize, this changes nothing else. Any other dot at the start of such a line stays
 * as it came: a client that ends lines with LF stuffs its dots by those lines.
 *
 * A line of a dot and a NUL is the end of the message to servers that cut lines at a NUL (OpenSMTPD). The dot is there for
 * transparency only, and a receiver that follows the rules removes it (section 4.5.2). Without it the message is the same, for
 * all servers.
 */

const LF = 0x0a
const CR = 0x0d
const NUL = 0
const SPACE = 0x20
const DOT = 0x2e
const NOTHING = Buffer.alloc(0)
const LONE_CR = Buffer.from('\r')
const LONE_DOT = Buffer.from('.')

// Where in a line of the output the next byte goes. MADE: the CRLF before that line was a bare LF.
const START = 0
const START_MADE = 1
const AFTER_DOT = 2
const AFTER_DOT_MADE = 3
const INSIDE = 4

/**
 * Takes the text of one message in dot-stuffed form, in chunks cut anywhere: the bytes after the 354, up to the final `.CRLF`,
 * which is not part of them. They are empty or end with CRLF, and contain no CRLF.CRLF (the first byte counts as coming after a
 * CRLF). The output has the same two properties, and no bare CR or LF.
 */
export class Newlines {
  /** Bare newlines seen so far. They are counted whether the caller then sends the message on or rejects it. */
  bareLf = 0
  bareCr = 0
  #place = START
  /** A CR, or a dot that begins a line, from the end of the last chunk. The next byte tells what it is. */
  #held: Buffer | undefined

  /** Returns what can go on after this chunk. A chunk without bare newlines comes back whole or in part, but not copied. */
  push(chunk: Buffer): Buffer {
    if (chunk.length === 0) return chunk
    const bytes = this.#held === undefined ? chunk : Buffer.concat([this.#held, chunk])
    this.#held = undefined
    // A line that a bare LF began may need its dot stuffed even if nothing bare follows.
    const begunByLf = this.#place === START_MADE || this.#place === AFTER_DOT_MADE
    const clean = begunByLf ? 0 : this.#pass(bytes)
    return clean === bytes.length ? bytes : this.#held ? bytes.subarray(0, clean) : this.#rewrite(bytes, clean)
  }

  /** Returns what is left at the end of the message: a CR that was held back, which is then a bare one. */
  end(): Buffer {
    if (this.#held !== LONE_CR) return NOTHING
    this.#held = undefined
    this.bareCr++
    this.#place = INSIDE
    return Buffer.from(' ')
  }

  /**
   * Steps over what stays as it is.
   * @returns where that ends: at the length, at a last CR, at a last dot that begins a line, or at the start of a line
   */
  #pass(bytes: Buffer): number {
    const end = bytes.length
    let line = 0 // start of the line that is being read
    let i = 0
    while (i < end) {
      const c = bytes[i++]!
      if (c > CR || (c !== CR && c !== LF && c !== NUL)) continue
      if (c === NUL) {
        if (i !== line + 2 || bytes[line] !== DOT || (line === 0 && this.#place !== START)) continue
        if (line > 0) this.#place = START
        return line
      }
      if (c === CR && bytes[i] === LF) {
        line = ++i
      } else if (c === CR && i === end) {
        // The place before the CR need not be noted: as half of a CRLF or as a space, the CR makes a new one.
        this.#held = LONE_CR
        return i - 1
      } else {
        // The lines before stay as they are. The place in this line is worked out again from its start.
        if (line > 0) this.#place = START
        return line
      }
    }
    if (line > 0) this.#place = START
    if (end === line) return end
    if (this.#place === START && end === line + 1 && bytes[line] === DOT) {
      this.#held = LONE_DOT
      return line
    }
    this.#place = INSIDE
    return end
  }

  /** Goes on byte by byte from `from`, which is at `#place`. */
  #rewrite(bytes: Buffer, from: number): Buffer {
    const end = bytes.length
    // Two bytes (dot, LF) become four, and nothing more than doubles. One dot may belong to the last chunk.
    const out = Buffer.allocUnsafe(from + 2 * (end - from) + 1)
    let size = bytes.copy(out, 0, 0, from)
    let place = this.#place
    for (let i = from; i < end; i++) {
      const c = bytes[i]!
      if (c === CR && i + 1 === end) {
        this.#held = LONE_CR
      } else if (c === NUL && (place === AFTER_DOT || place === AFTER_DOT_MADE)) {
        // The dot is in this chunk: a dot at the end of a chunk is held back.
        out[size - 1] = NUL
        place = INSIDE
      } else if (c === CR && bytes[i + 1] === LF) {
        if (place === AFTER_DOT_MADE) out[size++] = DOT
        out[size++] = CR
        out[size++] = LF
        place = START
        i++
      } else if (c === LF) {
        if (place === AFTER_DOT || place === AFTER_DOT_MADE) out[size++] = DOT
        out[size++] = CR
        out[size++] = LF
        place = START_MADE
        this.bareLf++
      } else if (c === CR) {
        out[size++] = SPACE
        place = INSIDE
        this.bareCr++
      } else {
        out[size++] = c
        if (place === INSIDE) continue
        place = c !== DOT ? INSIDE : place === START ? AFTER_DOT : place === START_MADE ? AFTER_DOT_MADE : INSIDE
      }
    }
    if (this.#held === undefined && (place === AFTER_DOT || place === AFTER_DOT_MADE)) {
      this.#held = LONE_DOT
      place = place === AFTER_DOT ? START : START_MADE
      size--
    }
    this.#place = place
    return out.subarray(0, size)
  }
}
