/**
 * The demo's screen, as text: a pure function of what is to be shown and of the room there is. It knows nothing of
 * terminals but their width and height; terminal.ts paints what it returns.
 */
import type { Figures, Flow, Why } from './figures.ts'
import type { HonestMail } from './honest.ts'

export interface State {
  readonly version: string
  readonly uptimeMs: number
  /** host:port */
  readonly mail: string
  readonly admin: string
  readonly logFile: string
  /** Settings in the user's environment, which the demo does not use. */
  readonly ignored: readonly string[]
  readonly figures: Figures
  readonly honest: HonestMail
  /** The latest first. */
  readonly deliveries: readonly Shown[]
}

export interface Shown {
  readonly from: string
  readonly to: readonly string[]
  readonly client: string
  /** Of the client; or a remark. Empty where there is none. */
  readonly name: string
}

export interface Size {
  readonly columns: number
  readonly rows: number
}

/** Lines are not made longer than this however wide the terminal is: they would be hard to read. */
const MAX_COLUMNS = 100
const MAX_ROWS = 40
/** From this width on a reason's tag stands beside its meaning. */
const WIDE = 100
/** From this height on there is room for what is only nice to know. */
const ROOMY = 30

/**
 * Text that came off the wire, for a terminal: whatever could move the cursor, change colours, hide or turn text round, or
 * take another width than it seems to, is shown as `?`. Printable ASCII is all that is left.
 */
export const printable = (text: string): string => text.replace(/[^ -~]/gu, '?')

export const clip = (text: string, columns: number): string =>
  text.length <= columns ? text : `${text.slice(0, Math.max(0, columns - 1))}…`

const count = (value: number): string => String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',')
const rate = ({ perSecond }: Flow): string =>
  `${perSecond > 0 && perSecond < 9.95 ? perSecond.toFixed(1) : count(perSecond)}/s`
const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`

function clock(ms: number): string {
  const all = Math.floor(ms / 1000)
  const two = (value: number): string => String(value).padStart(2, '0')
  return `${Math.floor(all / 3600)}:${two(Math.floor(all / 60) % 60)}:${two(all % 60)}`
}

const heading = (title: string): string => title.padEnd(14)
const flow = (title: string, each: Flow, words: string): string =>
  `${heading(title)}${rate(each).padStart(7)}  ${count(each.total).padStart(8)}  ${words}`

function whyLine({ reason, meaning, ...each }: Why, columns: number): string {
  const total = count(each.total).padStart(7)
  return columns >= WIDE
    ? ` ${reason.padEnd(18)} ${rate(each).padStart(5)} ${total} ${meaning}`
    : `${rate(each).padStart(6)} ${total}  ${meaning}`
}

function honestLines({ sent, accepted, arrived, twice, putOff, cameBack, lost, waiting, p50Ms, p99Ms }: HonestMail) {
  const once = arrived === accepted && twice === 0
  const proof = once ? 'each arrived once' : `${count(arrived)} arrived, ${count(twice)} twice`
  return [
    `${heading('HONEST MAIL')}${count(sent)} sent, ${count(accepted)} accepted (${proof}), ${count(waiting)} waiting, ${count(lost)} lost`,
    `${heading('')}${count(putOff)} put off by 4xx, ${count(cameBack)} of them came back; took ${seconds(p50Ms)} (p99 ${seconds(p99Ms)})`,
  ]
}

function deliveryLine({ from, to, client, name }: Shown, columns: number): string {
  const first = printable(to[0] ?? '')
  const more = to.length > 1 ? ` and ${to.length - 1} more` : ''
  const line = `  ${printable(client).padEnd(15)}  ${clip(printable(from) || '<>', 24).padEnd(24)} → ${first}${more}`
  const named = `${line.padEnd(72)}  ${printable(name)}`
  return name === '' || named.length > columns ? line : named
}

/** How to send a message oneself: each can be pasted into a shell as it is. */
export function commands(mail: string): string[] {
  return [
    `  swaks --server ${mail} --from me@example.org --to alice@example.test`,
    `  echo hello | curl -T - smtp://${mail} \\`,
    '    --mail-from me@example.org --mail-rcpt alice@example.test',
  ]
}

export const SIMULATED =
  'Simulated: the senders and the mail server, which keeps mail in memory only. The rest is real.'
const SIMULATED_SHORT = 'Simulated: the senders, and the mail server (keeps mail in memory only).'
const SEND = 'SEND ONE YOURSELF  (should it hear 451: do as mail servers do, send it again)'
const LOW = 'limits set low, to be seen at work'

export function ignoredLine(names: readonly string[]): string {
  const [first = '', ...more] = names
  const which = more.length === 0 ? first : `${first} and ${more.length} more`
  return `Your own ${which} ${more.length === 0 ? 'is' : 'are'} not used: the demo has settings of its own.`
}

function head({ version, uptimeMs, mail, figures }: State): string {
  const { up, connections } = figures.upstream
  const behind = up ? `mail server up, ${connections} connection${connections === 1 ? '' : 's'}` : 'mail server down'
  return `SPILLWAY ${version} demo · ${clock(uptimeMs)} · ${mail} · ${behind}`
}

function summary({ figures, honest }: State, brief: boolean): { flows: string[]; honest: string[] } {
  const { connections, open, relayed, refusedBehind, refused, left } = figures
  return {
    flows: [
      flow('COMING IN', connections, `connections, ${count(open)} open now`),
      flow('RELAYED', relayed, 'messages: honest ones, and spam within limits'),
      flow('NOT KNOWN', refusedBehind, 'recipients the mail server does not know'),
      ...(brief ? [] : [flow('WENT AWAY', left, 'sessions that ended without a message or a refusal')]),
      flow('TURNED AWAY', refused, `refusals; ${LOW}:`),
    ],
    honest: honestLines(honest),
  }
}

/** The least of what is worth showing of a part that shrinks. */
const FEWEST_REASONS = 4
const FEWEST_DELIVERIES = 2
const MOST_DELIVERIES = 8

/** At most `size.rows` lines (and never more than 40) of at most `size.columns` characters. */
export function render(state: State, size: Size): string[] {
  const columns = Math.min(size.columns, MAX_COLUMNS)
  const rows = Math.min(size.rows, MAX_ROWS)
  const { flows, honest } = summary(state, rows < ROOMY)
  const top = [head(state), SIMULATED.length <= columns ? SIMULATED : SIMULATED_SHORT]
  if (state.ignored.length > 0) top.push(ignoredLine(state.ignored))
  const send = [SEND, ...commands(state.mail)]
  const last = [`METRICS curl http://${state.admin}/metrics`, `LOG ${state.logFile}  ·  Ctrl-C ends the demo`]
  const fixed = top.length + flows.length + honest.length + 1 + send.length + last.length
  let room = rows - fixed
  const { why } = state.figures
  const reasons = Math.min(why.length, Math.max(FEWEST_REASONS, room - FEWEST_DELIVERIES))
  room -= reasons
  const deliveries = Math.min(state.deliveries.length, MOST_DELIVERIES, Math.max(FEWEST_DELIVERIES, room))
  room -= deliveries
  // Blank lines between the parts only where nothing has to give way to them.
  const gap = room >= 4 ? [''] : []
  const lines = [
    ...top,
    ...gap,
    ...flows,
    ...why.slice(0, reasons).map((each) => whyLine(each, columns)),
    ...gap,
    ...honest,
    ...gap,
    'IN THE MAIL SERVER  the latest, with their true address and name (XCLIENT)',
    ...state.deliveries.slice(0, deliveries).map((each) => deliveryLine(each, columns)),
    ...gap,
    ...send,
    ...last,
  ]
  return lines.slice(0, rows).map((line) => clip(line, columns))
}

/** For a log or a pipe: what never changes, once. */
export function introduction(state: Pick<State, 'version' | 'mail' | 'admin' | 'logFile' | 'ignored'>): string[] {
  return [
    `SPILLWAY ${state.version} demo on ${state.mail}`,
    SIMULATED,
    ...(state.ignored.length > 0 ? [ignoredLine(state.ignored)] : []),
    `METRICS  curl http://${state.admin}/metrics`,
    `LOG  ${state.logFile}`,
    SEND,
    ...commands(state.mail),
  ]
}

/**
 * For a log or a pipe: what changes, each time; also the last word on every kind of screen.
 * @param columns of the terminal; without it lines are as long as they are
 */
export function report(state: State, columns = Number.POSITIVE_INFINITY): string[] {
  const { flows, honest } = summary(state, false)
  const why = state.figures.why.map((each) => whyLine(each, columns))
  return [head(state), ...flows, ...why, ...honest].map((line) => clip(line, columns))
}
