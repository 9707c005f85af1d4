/**
 * Sessions as no honest client would have them: valid commands and others, several messages, bodies of the nastiest
 * pieces there are, pipelined or not, cut anywhere, left anywhere. Everything is drawn by fast-check, so that a seed
 * brings it back and a counterexample is shrunk.
 */
import fc from 'fast-check'
import { FORMS, SMUGGLED } from './forms.ts'
import type { Leave, Piece, Session } from './session.ts'
import { RECIPIENTS, SIZE_LIMIT } from './target.ts'

const weighted = (rows: readonly (readonly [number, string])[]): fc.Arbitrary<string> =>
  fc.oneof(...rows.map(([weight, text]) => ({ weight, arbitrary: fc.constant(text) })))
const bytes = (max: number): fc.Arbitrary<string> =>
  fc.uint8Array({ minLength: 1, maxLength: max }).map((all) => Buffer.from(all).toString('latin1'))

const EHLO = weighted([
  [20, 'EHLO client.example\r\n'],
  [4, 'HELO client.example\r\n'],
  [2, 'ehlo [127.0.0.1]\r\n'],
  [1, 'EHLO\r\n'],
  [1, ''],
])
const MAIL = weighted([
  [20, 'MAIL FROM:<sender@example.org>\r\n'],
  [4, 'MAIL FROM:<>\r\n'],
  [3, 'mail from: <sender@example.org>\r\n'],
  [3, 'MAIL FROM:<sender@example.org> BODY=8BITMIME\r\n'],
  [2, 'MAIL FROM:<sender@example.org> SIZE=500\r\n'],
  [1, `MAIL FROM:<sender@example.org> SIZE=${SIZE_LIMIT * 2}\r\n`],
  [1, 'MAIL FROM:<sender@example.org> RET=HDRS ENVID=QQ314159\r\n'],
  [1, 'MAIL FROM:<"a>b <c"@example.org>\r\n'],
  [1, 'MAIL FROM:<sender@example.org\r\n'],
  [1, 'MAIL FROM:<sender@example.org> UNHEARD=OF\r\n'],
  [1, 'MAIL FROM:<sender\0@example.org>\r\n'],
  [1, 'MAIL FROM:<sender@example.org>\n'],
  [1, ''],
])
const RCPT = weighted([
  ...RECIPIENTS.slice(0, 3).map((each) => [10, `RCPT TO:<${each}>\r\n`] as const),
  [3, 'rcpt to: <Anna@Example.TEST>\r\n'],
  [3, 'RCPT TO:<nobody@example.test>\r\n'],
  [2, 'RCPT TO:<x@elsewhere.example>\r\n'],
  [1, 'RCPT TO:<@relay.example:bert@example.test>\r\n'],
  [1, 'RCPT TO:<"carl"@example.test>\r\n'],
  [1, 'RCPT TO:<bert@example.test> NOTIFY=NEVER ORCPT=rfc822;bert@example.test\r\n'],
  [1, 'RCPT TO:<>\r\n'],
  [1, 'RCPT TO:<anna@example.test>\rRCPT TO:<victim@example.test>\r\n'],
  [1, 'RCPT TO:anna\r\n'],
])
const DATA = weighted([
  [20, 'DATA\r\n'],
  [1, 'data\r\n'],
  [1, 'DATA \r\n'],
  [1, 'DATA\n'],
  [1, 'DATA now\r\n'],
])
const BETWEEN = fc.oneof(
  weighted([
    [5, 'RSET\r\n'],
    [5, 'NOOP\r\n'],
    [1, 'NOOP of some sort\r\n'],
    [2, 'VRFY anna\r\n'],
    [1, 'HELP\r\n'],
    [1, 'EXPN list\r\n'],
    [1, 'BDAT 10 LAST\r\n0123456789'],
    [1, 'AUTH PLAIN AGEAYg==\r\n'],
    [1, 'STARTTLS\r\n'],
    [2, 'EHLO again.example\r\n'],
    [1, '\r\n'],
    [1, '.\r\n'],
    [1, 'DATA\r\n'],
    [1, `NOOP ${'x'.repeat(2000)}\r\n`],
    [1, 'GET / HTTP/1.1\r\nHost: mx\r\n\r\n'],
  ]),
  bytes(40).map((text) => `${text}\r\n`),
)

const long = (length: number): string => 'l'.repeat(length)
const forms = Object.values(FORMS)
const FRAGMENT = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('\r\n', '\n', '\r', '.', '..', '\0', ' ', '\t', 'text', 'line\r\n') },
  { weight: 6, arbitrary: fc.constantFrom('\r\n.', '\n.', '\r.', '.\r\n', '.\n', '.\r', '\r\n..\r\n', '\r\n.x\r\n') },
  { weight: 5, arbitrary: fc.constantFrom(...forms) },
  { weight: 4, arbitrary: fc.constantFrom(...forms).map((form) => form + SMUGGLED) },
  { weight: 2, arbitrary: fc.constantFrom('\r\nFrom me\r\n', 'caf\xe9 \xff\x80', '\r\nReceived: from x by mx\r\n') },
  { weight: 1, arbitrary: fc.constantFrom(998, 999, 1000, 2000, 2047, 2048, 2049, 4096).map(long) },
  { weight: 1, arbitrary: fc.constantFrom(long(9000), 'long line of text\r\n'.repeat(700), '..\r\n'.repeat(500)) },
  { weight: 1, arbitrary: fc.constantFrom(`${long(70)}\r\n`.repeat(600), `${long(70)}\r\n`.repeat(1300)) },
  { weight: 2, arbitrary: bytes(60) },
  // A true end, and what is behind it are commands.
  { weight: 1, arbitrary: fc.constant(`\r\n.\r\n${SMUGGLED}`) },
)

interface Body {
  /** A header that the message is known by; without it the server may take the first line for what it likes. */
  readonly marked: boolean
  readonly fragments: readonly string[]
  readonly dot: boolean
}
const BODY: fc.Arbitrary<Body> = fc.record({
  marked: fc.oneof({ weight: 8, arbitrary: fc.constant(true) }, { weight: 2, arbitrary: fc.constant(false) }),
  fragments: fc.array(FRAGMENT, { maxLength: 12 }),
  dot: fc.oneof({ weight: 30, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
})

function wire({ marked, fragments, dot }: Body, mark: string): string {
  const text = (marked ? `X-Mark: ${mark}\r\n\r\n` : '') + fragments.join('')
  const closed = text === '' || text.endsWith('\r\n') ? text : `${text}\r\n`
  return dot ? `${closed}.\r\n` : closed
}

type Step =
  | { readonly kind: 'message'; mail: string; rcpts: readonly string[]; data: string; body: Body }
  | { readonly kind: 'line'; line: string }
const STEP: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('message' as const),
      mail: MAIL,
      rcpts: fc.array(RCPT, { minLength: 1, maxLength: 4 }),
      data: DATA,
      body: BODY,
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('line' as const), line: BETWEEN }) },
)

/** lockstep: one command, one reply. groups: as RFC 2920 has it. all: everything at once, bodies too. */
type Pace = 'lockstep' | 'groups' | 'all'
interface Edit {
  readonly at: number
  readonly remove: number
  readonly insert: string
}
export interface Drawn {
  readonly hello: string
  readonly steps: readonly Step[]
  readonly quit: boolean
  readonly pace: Pace
  readonly cuts: readonly number[]
  readonly leave: { readonly how: Leave; readonly at: number } | undefined
  readonly edits: readonly Edit[]
}
const FAR = 1 << 20
const rarely = <T>(weight: number, arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary })

export const DRAWN: fc.Arbitrary<Drawn> = fc.record({
  hello: EHLO,
  steps: fc.array(STEP, { minLength: 1, maxLength: 6 }),
  quit: fc.boolean(),
  pace: fc.constantFrom<Pace>('lockstep', 'groups', 'all'),
  cuts: fc.oneof(
    { weight: 1, arbitrary: fc.constant([]) },
    { weight: 3, arbitrary: fc.array(fc.nat(FAR), { maxLength: 30 }) },
    { weight: 1, arbitrary: fc.array(fc.nat(FAR), { minLength: 200, maxLength: 400 }) },
  ),
  leave: rarely(4, fc.record({ how: fc.constantFrom<Leave>('fin', 'fin', 'reset', 'close'), at: fc.nat(FAR) })),
  edits: fc.oneof(
    { weight: 6, arbitrary: fc.constant([]) },
    {
      weight: 1,
      arbitrary: fc.array(fc.record({ at: fc.nat(FAR), remove: fc.nat(12), insert: fc.oneof(bytes(8), FRAGMENT) }), {
        maxLength: 4,
      }),
    },
  ),
})

/** @param name of the session; its messages are marked with it */
export function render(drawn: Drawn, name: string): Session {
  const { pace, quit } = drawn
  const pieces: { bytes: string; wait: boolean; ifAsked: boolean }[] = []
  const add = (text: string, wait: boolean, ifAsked = false): void => {
    if (text !== '') pieces.push({ bytes: text, wait, ifAsked })
  }
  add(drawn.hello, pace !== 'all')
  for (const [index, step] of drawn.steps.entries()) {
    if (step.kind === 'line') add(step.line, pace === 'lockstep')
    else {
      add(step.mail, pace === 'lockstep')
      for (const rcpt of step.rcpts) add(rcpt, pace === 'lockstep')
      add(step.data, pace !== 'all')
      add(wire(step.body, `${name}-${index}`), pace === 'lockstep' && step.body.dot, pace !== 'all')
    }
  }
  if (quit) add('QUIT\r\n', true)
  for (const { at, remove, insert } of drawn.edits) {
    const piece = pieces[at % pieces.length]
    if (piece === undefined) continue
    const from = at % (piece.bytes.length + 1)
    piece.bytes = piece.bytes.slice(0, from) + insert + piece.bytes.slice(from + remove)
  }
  const total = pieces.reduce((sum, each) => sum + each.bytes.length, 0)
  const last = drawn.leave === undefined ? total : drawn.leave.at % (total + 1)
  const cuts = [...new Set(drawn.cuts.map((cut) => cut % (total + 1)))].sort((a, b) => a - b)
  let begin = 0
  const cut: Piece[] = []
  for (const piece of pieces) {
    const end = Math.min(begin + piece.bytes.length, last)
    const inside = cuts.filter((each) => each > begin && each < end)
    const bounds = [begin, ...inside, end]
    const parts = bounds.slice(1).map((bound, i) => piece.bytes.slice((bounds[i] as number) - begin, bound - begin))
    cut.push({ parts: parts.filter((part) => part !== ''), wait: piece.wait, ifAsked: piece.ifAsked })
    begin += piece.bytes.length
    if (begin >= last) break
  }
  return { pieces: cut.filter(({ parts }) => parts.length > 0), leave: drawn.leave?.how }
}

/** Bytes without any sense, for what nobody thought of. */
export const NONSENSE: fc.Arbitrary<Session> = fc.record({
  pieces: fc.array(
    fc.record({
      parts: fc.array(fc.oneof(bytes(200), FRAGMENT, EHLO, MAIL, RCPT, DATA), { minLength: 1, maxLength: 6 }),
      wait: fc.boolean(),
      ifAsked: fc.constant(false),
    }),
    { maxLength: 8 },
  ),
  leave: fc.constantFrom<Leave | undefined>(undefined, 'fin'),
})

/** Sessions that are played side by side. */
export const BATCH: fc.Arbitrary<readonly Session[]> = fc
  .array(fc.oneof({ weight: 9, arbitrary: DRAWN }, { weight: 1, arbitrary: NONSENSE }), { minLength: 1, maxLength: 8 })
  .map((all) => all.map((each, index) => ('pieces' in each ? each : render(each, `s${index}`))))
