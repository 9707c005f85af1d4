/**
 * Reads a session from outside: the bytes the client sent and the replies it heard, and from these alone which messages
 * there were. One reply answers one line; a reply of 354 is followed by a message up to the first CRLF.CRLF and by
 * nothing else (RFC 5321 section 4.1.1.4), and then by one reply to that.
 */

export interface Transaction {
  readonly from: string
  /** Those that were accepted, as they were written. */
  readonly recipients: readonly string[]
  /** Dot-stuffed, without the final dot; latin1. */
  readonly body: string
  /** To the final dot; undefined where it was not heard. */
  readonly reply: string | undefined
}

/** What is between the brackets of MAIL or RCPT. */
const pathOf = (line: string): string => /^[^<]*<(.*)>/.exec(line)?.[1] ?? ''

/** Where the body ends, and where what is behind it begins. */
function endOfBody(bytes: string): { readonly end: number; readonly next: number } | undefined {
  if (bytes.startsWith('.\r\n')) return { end: 0, next: 3 }
  const at = bytes.indexOf('\r\n.\r\n')
  return at < 0 ? undefined : { end: at + 2, next: at + 5 }
}

export class Reader {
  readonly transactions: Transaction[] = []
  /** What must not have been said. */
  readonly problems: string[] = []
  /** Sent and not yet answered. */
  #bytes: string
  #state: 'greeting' | 'line' | 'body' | 'over'
  #from = ''
  #recipients: string[] = []

  readonly #sizeLimit: number

  /** @param sizeLimit the octets a message may have */
  constructor(sizeLimit: number, bytes = '', state: 'greeting' | 'line' | 'body' | 'over' = 'greeting') {
    this.#sizeLimit = sizeLimit
    this.#bytes = bytes
    this.#state = state
  }

  sent(bytes: string): void {
    this.#bytes += bytes
  }

  /** Whether a reply is due to what was sent so far. */
  get owed(): boolean {
    if (this.#state === 'greeting') return true
    if (this.#state === 'line') return this.#bytes.includes('\n')
    return this.#state === 'body' && endOfBody(this.#bytes) !== undefined
  }

  get inBody(): boolean {
    return this.#state === 'body'
  }

  /** Whether the server has said its last word. */
  get over(): boolean {
    return this.#state === 'over'
  }

  /** @param reply all its lines */
  heard(reply: string): void {
    const code = reply.slice(0, 3)
    if (this.#state === 'over') {
      this.problems.push(`said after the last word: ${reply}`)
    } else if (!this.owed) {
      // A message that grows too large is refused before it ends, and the connection closed.
      if (code !== '421' && !(this.#state === 'body' && code === '552')) {
        this.problems.push(`said without a question: ${reply}`)
      }
      this.#state = 'over'
    } else if (this.#state === 'greeting') {
      this.#state = code === '220' ? 'line' : 'over'
    } else if (this.#state === 'line') {
      const next = this.#bytes.indexOf('\n') + 1
      const line = this.#bytes.slice(0, next)
      this.#bytes = this.#bytes.slice(next)
      this.#answered(line.replace(/\r?\n$/, ''), code, reply)
    } else {
      const { end, next } = endOfBody(this.#bytes) as { end: number; next: number }
      const body = this.#bytes.slice(0, end)
      this.transactions.push({ from: this.#from, recipients: this.#recipients, body, reply })
      this.#bytes = this.#bytes.slice(next)
      // Behind a message of more than twice the limit the connection is closed: who sends it does not listen.
      const enormous = code === '552' && body.length > 2 * this.#sizeLimit
      this.#state = code === '421' || enormous ? 'over' : 'line'
      this.#recipients = []
    }
  }

  #answered(line: string, code: string, reply: string): void {
    const verb = line.slice(0, 4).toUpperCase()
    if (code === '421' || (verb === 'QUIT' && code === '221')) this.#state = 'over'
    else if (code === '221') this.problems.push(`${JSON.stringify(line)} was answered with a goodbye`)
    else if (code === '354') {
      this.#state = 'body'
      if (verb !== 'DATA') this.problems.push(`${JSON.stringify(line)} was answered with ${reply}`)
      if (this.#recipients.length === 0) this.problems.push('354 without a recipient')
    } else if (code === '250' && ['EHLO', 'HELO', 'RSET', 'MAIL'].includes(verb)) {
      this.#recipients = []
      if (verb === 'MAIL') this.#from = pathOf(line)
    } else if (code === '250' && verb === 'RCPT') this.#recipients = [...this.#recipients, pathOf(line)]
  }

  /**
   * What may have become messages of what was sent and not answered: the client has left before it heard.
   * @param isKnown whether a recipient would have been accepted
   */
  possible(isKnown: (recipient: string) => boolean): Transaction[] {
    if (this.#state === 'over') return []
    const guess = new Reader(this.#sizeLimit, this.#bytes, this.#state === 'greeting' ? 'line' : this.#state)
    guess.#from = this.#from
    guess.#recipients = this.#recipients
    while (guess.owed && !guess.over) {
      const line = guess.#bytes.slice(0, guess.#bytes.indexOf('\n'))
      const verb = line.slice(0, 4).toUpperCase()
      const refused = (verb === 'RCPT' && !isKnown(pathOf(line))) || (verb === 'DATA' && guess.#recipients.length === 0)
      const yes = verb === 'DATA' ? '354' : verb === 'QUIT' ? '221' : '250'
      guess.heard(guess.inBody ? '250' : refused ? '550' : yes)
    }
    return guess.transactions.map((each) => ({ ...each, reply: undefined }))
  }
}
