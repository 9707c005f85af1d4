/**
 * Sets right what servers read differently in a message, on its way to the upstream: a bare LF becomes CRLF, a bare CR
 * becomes a space, and of a dot and a NUL at the start of a line the dot is taken away.
 *
 * Only CRLF ends a line (RFC 5321 2.3.8), and only CRLF.CRLF ends a message. Where one server takes LF.CRLF for the end
 * and the next one does not, what follows is a message for the one and a smuggled second transaction for the other
 * (CVE-2023-51764). So no bare newline goes on, and a dot that comes to stand alone on a line because a bare LF became
 * CRLF is stuffed (4.5.2): the message goes on behind it, as it did before.
 *
 * Like Postfix's smtpd_forbid_bare_newline=normalize it changes nothing else. Another dot at the start of such a line is
 * left as it came: who ends lines with LF stuffs his dots by those lines.
 *
 * A line of a dot and a NUL is the end of the message for servers that cut lines at a NUL (OpenSMTPD). The dot stands for
 * transparency only, and whoever reads by the rules takes it away (4.5.2): without it the message is the same, for all.
 */

const LF = 0x0a
const CR = 0x0d
const NUL = 0
const SPACE = 0x20
const DOT = 0x2e
const NOTHING = Buffer.alloc(0)
const LONE_CR = Buffer.from('\r')
const LONE_DOT = Buffer.from('.')

// Where in a line of the output the next byte will stand. MADE: the CRLF before that line was a bare LF.
const START = 0
const START_MADE = 1
const AFTER_DOT = 2
const AFTER_DOT_MADE = 3
const INSIDE = 4

/**
 * One message's DATA in dot-stuffed form, in chunks cut anywhere: the bytes from behind the 354's line up to the final
 * `.CRLF`, which is not part of it. They are empty or end with CRLF and hold no CRLF.CRLF (the first byte stands behind
 * a CRLF). The output has the same two properties, and no bare CR or LF.
 */
export class Newlines {
  /** Bare newlines seen so far. They are counted whether the caller then sends the message on or rejects it. */
  bareLf = 0
  bareCr = 0
  #place = START
  /** The last chunk ended with a CR, or with a dot that begins a line: what it is, the next byte tells. */
  #held: Buffer | undefined

  /** What can go on after this chunk. A chunk without bare newlines comes back as it is, or as a part of it, not copied. */
  push(chunk: Buffer): Buffer {
    if (chunk.length === 0) return chunk
    const bytes = this.#held === undefined ? chunk : Buffer.concat([this.#held, chunk])
    this.#held = undefined
    // A line that a bare LF began may need its dot stuffed even if nothing bare follows.
    const begunByLf = this.#place === START_MADE || this.#place === AFTER_DOT_MADE
    const clean = begunByLf ? 0 : this.#pass(bytes)
    return clean === bytes.length ? bytes : this.#held ? bytes.subarray(0, clean) : this.#rewrite(bytes, clean)
  }

  /** What is left at the end of the message: a CR held back, which is then a bare one. */
  end(): Buffer {
    if (this.#held !== LONE_CR) return NOTHING
    this.#held = undefined
    this.bareCr++
    this.#place = INSIDE
    return Buffer.from(' ')
  }

  /**
   * Steps over what stays as it is; returns where that ends: at the length, at a last CR, at a last dot that begins a
   * line, or at the start of a line.
   */
  #pass(bytes: Buffer): number {
    const end = bytes.length
    let line = 0 // where the line began that is being read
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
        // The place before it need not be noted: as half of a CRLF or as a space it makes a new one.
        this.#held = LONE_CR
        return i - 1
      } else {
        // The lines before stay as they are. The place in this one is told again from its start.
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

  /** Takes over from `from`, where `#place` holds, byte by byte. */
  #rewrite(bytes: Buffer, from: number): Buffer {
    const end = bytes.length
    // Of two bytes (dot, LF) four are made, and of none more than twice as many; one dot may belong to the last chunk.
    const out = Buffer.allocUnsafe(from + 2 * (end - from) + 1)
    let size = bytes.copy(out, 0, 0, from)
    let place = this.#place
    for (let i = from; i < end; i++) {
      const c = bytes[i]!
      if (c === CR && i + 1 === end) {
        this.#held = LONE_CR
      } else if (c === NUL && (place === AFTER_DOT || place === AFTER_DOT_MADE)) {
        // That dot was in this chunk: one at the end of a chunk is held back.
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
