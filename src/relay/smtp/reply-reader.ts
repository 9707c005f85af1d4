/**
 * Splits what a mail server sends into replies (RFC 5321 section 4.2). Text is latin1, one byte per character. A reply is parsed
 * only when a caller asks for one: until then the text is kept as it came, and can be looked at.
 */
import type { Reply } from './reply.ts'

/** RFC 5321 section 4.5.3.1.5 allows 512 octets a line. Servers send longer lines, but not this long. */
const MAX_LINE = 4096
const MAX_LINES = 200

/** What came is not a reply; `why` says so in words. */
export interface MalformedReply {
  readonly why: string
}

export class ReplyReader {
  #text = ''
  #code = 0
  #lines: string[] = []

  push(chunk: string): void {
    this.#text += chunk
  }

  /** Discards what has not been taken yet. */
  clear(): void {
    this.#text = ''
  }

  /** Whether nothing is there, not even part of a line. */
  get isEmpty(): boolean {
    return this.#text === '' && this.#lines.length === 0
  }

  /** Whether a whole line is there. */
  get hasLine(): boolean {
    return this.#text.includes('\n')
  }

  /** The beginning of what is there. */
  get head(): string {
    return this.#text.slice(0, 80)
  }

  /** Whether more has come unasked than any server could mean to send. */
  get isFull(): boolean {
    return this.#text.length > MAX_LINE * MAX_LINES
  }

  /** The next reply. @returns undefined if it is not complete yet */
  next(): Reply | MalformedReply | undefined {
    let from = 0
    for (;;) {
      const end = this.#text.indexOf('\n', from)
      if (end < 0) break
      const line = this.#text.slice(from, this.#text.charCodeAt(end - 1) === 13 ? end - 1 : end)
      from = end + 1
      const separator = line[3]
      if (!this.#take(line, separator)) return { why: `not an SMTP reply: ${JSON.stringify(line.slice(0, 80))}` }
      if (separator === '-') continue
      this.#text = this.#text.slice(from)
      const lines = this.#lines
      this.#lines = []
      return { code: this.#code, lines }
    }
    if (from > 0) this.#text = this.#text.slice(from)
    return this.#text.length > MAX_LINE ? { why: 'a reply line is too long' } : undefined
  }

  /** @returns whether the line belongs to this reply */
  #take(line: string, separator: string | undefined): boolean {
    const code = Number(line.slice(0, 3))
    const valid =
      /^[2-5][0-9]{2}/.test(line) &&
      (separator === ' ' || separator === '-' || separator === undefined) &&
      (this.#lines.length === 0 || this.#code === code) &&
      this.#lines.length < MAX_LINES &&
      line.length <= MAX_LINE
    if (!valid) return false
    this.#code = code
    this.#lines.push(line.slice(4))
    return true
  }
}
