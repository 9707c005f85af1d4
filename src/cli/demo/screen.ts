/**
 * The demo's screen as text: a pure function of the state to show and of the room for it. It knows only the width and
 * height of the terminal; terminal.ts paints what it returns.
 */
import type { Level } from '../../core/overload.ts'
import { FALL_MS } from '../../overload/level.ts'
import { LEVEL_TABLE } from '../../overload/levels.ts'
import type { Figures, Flow, Why } from './figures.ts'
import type { HonestMail, Part } from './honest.ts'

export interface ScreenState {
  readonly version: string
  readonly uptimeMs: number
  /** host:port */
  readonly mail: string
  readonly admin: string
  readonly logFile: string
  /** Whether the log is kept at the end. */
  readonly logStays: boolean
  /** Names of settings in the user's environment; the demo does not use them. */
  readonly ignored: readonly string[]
  readonly figures: Figures
  readonly honest: HonestMail
  /** The latest first. */
  readonly deliveries: readonly Shown[]
}

/** What never changes while the demo runs. */
export type FixedState = Omit<ScreenState, 'uptimeMs' | 'figures' | 'honest' | 'deliveries'>

export interface Shown {
  readonly from: string
  readonly to: readonly string[]
  readonly client: string
  /** The client's name, or a remark; empty where there is neither. */
  readonly name: string
}

export interface Size {
  readonly columns: number
  readonly rows: number
}

const MAX_ROWS = 40
/** From this width on, the name of a reason is shown beside its meaning. */
const WIDE = 100
/** From this height on, there is room for optional lines. */
const ROOMY = 30

/**
 * Makes text from the wire safe for a terminal. Every character that is not printable ASCII becomes `?`, because it
 * might move the cursor, change colours, hide or reverse text, or take a different width than it seems to.
 */
export const printable = (text: string): string => text.replace(/[^ -~]/gu, '?')

/** Shortens text from the wire. */
export const clip = (text: string, columns: number): string =>
  text.length <= columns ? text : `${text.slice(0, Math.max(0, columns - 1))}…`

/**
 * Breaks a line between words where it is longer than the room for it; no word is lost.
 * @param hang the indent of the continuation lines, reduced where it would leave them little room
 */
export function fold(line: string, columns: number, hang = 0): string[] {
  const indent = Math.min(hang, columns >> 1)
  const lines: string[] = []
  let rest = line
  while (rest.length > columns) {
    const space = rest.lastIndexOf(' ', columns)
    const at = space > indent ? space : columns
    lines.push(rest.slice(0, at).trimEnd())
    rest = ' '.repeat(indent) + rest.slice(at).trimStart()
  }
  return [...lines, rest]
}

const count = (value: number): string => String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',')
const rate = ({ perSecond }: Flow): string =>
  `${perSecond > 0 && perSecond < 9.95 ? perSecond.toFixed(1) : count(perSecond)}/s`
const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`

function clock(ms: number): string {
  const all = Math.floor(ms / 1000)
  const two = (value: number): string => String(value).padStart(2, '0')
  return `${Math.floor(all / 3600)}:${two(Math.floor(all / 60) % 60)}:${two(all % 60)}`
}

/** Text that is too long for one line continues on further lines, aligned behind `head`. */
const hanging = (head: string, text: string, columns: number): string[] => fold(head + text, columns, head.length)

const heading = (title: string): string => title.padEnd(14)
const flow = (title: string, each: Flow, words: string, columns: number): string[] =>
  hanging(`${heading(title)}${rate(each).padStart(7)}  ${count(each.total).padStart(8)}  `, words, columns)

function whyLines({ reason, meaning, ...each }: Why, columns: number): string[] {
  const total = count(each.total).padStart(7)
  const wide = ` ${reason.padEnd(18)} ${rate(each).padStart(5)} ${total} `
  return hanging(columns >= WIDE ? wide : `${rate(each).padStart(6)} ${total}  `, meaning, columns)
}

/** What the level of overload does; docs/overload.md has it in full. */
const LEVELS: Readonly<Record<Level, string>> = {
  0: 'nobody is put off',
  1: 'strangers have smaller limits',
  2: 'some strangers are put off',
  3: 'nearly all strangers are put off',
  4: 'no stranger gets in',
}

function overloadLines({ overload }: Figures, columns: number): string[] {
  if (overload === undefined) return []
  const { level, signal, pressure } = overload
  const { down } = LEVEL_TABLE[level]
  // A level that stays while the pressure is gone looks like a mistake.
  const falls = pressure < down ? `; levels fall slowly: one for each ${FALL_MS / 1000} s below ${down}` : ''
  const words = `level ${level}: ${LEVELS[level]} (${signal} ${pressure.toFixed(1)}${falls})`
  return hanging(heading('OVERLOAD'), words, columns)
}

function atOnceWords({ atOnce, putOff }: Part): string {
  const tried = atOnce + putOff
  return tried === 0 ? 'none yet' : `${Math.floor((100 * atOnce) / tried)} % of ${count(tried)}`
}

function honestLines(mail: HonestMail, columns: number): string[] {
  const { sent, accepted, arrived, twice, putOff, cameBack, lost, waiting, p50Ms, p99Ms, known, newcomers } = mail
  const once = arrived === accepted && twice === 0
  const proof = once ? 'each arrived once' : `${count(arrived)} arrived, ${count(twice)} twice`
  const became = `${count(sent)} sent, ${count(accepted)} accepted (${proof}), ${count(waiting)} waiting, ${count(lost)} lost`
  const again = `${count(putOff)} put off by 4xx, ${count(cameBack)} of them came back; took ${seconds(p50Ms)} (p99 ${seconds(p99Ms)})`
  const parts = `at the first try: known senders ${atOnceWords(known)}, new ones ${atOnceWords(newcomers)}`
  return [
    ...hanging(heading('HONEST MAIL'), became, columns),
    ...hanging(heading(''), again, columns),
    ...hanging(heading(''), parts, columns),
  ]
}

function deliveryLine({ from, to, client, name }: Shown, columns: number): string {
  const first = printable(to[0] ?? '')
  const more = to.length > 1 ? ` and ${to.length - 1} more` : ''
  const line = `  ${printable(client).padEnd(15)}  ${clip(printable(from) || '<>', 24).padEnd(24)} → ${first}${more}`
  const named = `${line.padEnd(72)}  ${printable(name)}`
  return name === '' || named.length > columns ? line : named
}

/** Commands that send a message; each can be pasted into a shell as it is. */
function commands(mail: string): string[] {
  return [
    `  swaks --server ${mail} --from me@example.org --to alice@example.test`,
    `  echo hello | curl -T - smtp://${mail} \\`,
    '    --mail-from me@example.org --mail-rcpt alice@example.test',
  ]
}

const SIMULATED = 'Simulated: the senders and the mail server, which keeps mail in memory only. The rest is real.'
const SIMULATED_SHORT = 'Simulated: the senders, and the mail server (keeps mail in memory only).'
const SEND = 'SEND ONE YOURSELF  (if the reply is 451, send it again, as mail servers do)'

function ignoredLine(names: readonly string[]): string {
  const [first = '', ...more] = names
  const which = more.length === 0 ? first : `${first} and ${more.length} more`
  return `Your own ${which} ${more.length === 0 ? 'is' : 'are'} not used: the demo has settings of its own.`
}

function head({ version, uptimeMs, mail, figures }: ScreenState): string {
  const { up, connections } = figures.upstream
  const behind = up ? `mail server up, ${connections} connection${connections === 1 ? '' : 's'}` : 'mail server down'
  return `SPILLWAY ${version} demo · ${clock(uptimeMs)} · ${mail} · ${behind}`
}

function summary(
  { figures, honest }: ScreenState,
  brief: boolean,
  columns: number,
): { flows: string[]; honest: string[] } {
  const { connections, open, relayed, refusedBehind, refused, left } = figures
  return {
    flows: [
      ...flow('COMING IN', connections, `connections, ${count(open)} open now`, columns),
      ...flow('RELAYED', relayed, 'messages: honest ones, and spam within limits', columns),
      ...(brief
        ? []
        : [
            ...flow(
              'NOT KNOWN',
              refusedBehind,
              'recipients the mail server does not know, and spam that it finds',
              columns,
            ),
            ...flow('WENT AWAY', left, 'sessions that ended without a message or a refusal', columns),
          ]),
      ...flow('TURNED AWAY', refused, 'refusals (the limits are low, to show them):', columns),
    ],
    honest: [...overloadLines(figures, columns), ...honestLines(honest, columns)],
  }
}

/** The first blocks of lines, as many as fit whole into the rows. */
function whole(blocks: readonly (readonly string[])[], rows: number): string[] {
  const lines: string[] = []
  for (const block of blocks) {
    if (lines.length + block.length > rows) break
    lines.push(...block)
  }
  return lines
}

/** The fewest rows to which each part shrinks. */
const FEWEST_REASONS = 4
const FEWEST_DELIVERIES = 2
const MOST_DELIVERIES = 8

/** At most `size.rows` lines (and never more than 40) of at most `size.columns` characters. */
export function render(state: ScreenState, size: Size): string[] {
  const { columns } = size
  const rows = Math.min(size.rows, MAX_ROWS)
  const folded = (lines: readonly string[]): string[] => lines.flatMap((line) => fold(line, columns, 4))
  const { flows, honest } = summary(state, rows < ROOMY, columns)
  const top = folded([
    head(state),
    SIMULATED.length <= columns ? SIMULATED : SIMULATED_SHORT,
    ...(state.ignored.length > 0 ? [ignoredLine(state.ignored)] : []),
  ])
  const arrived = folded(['IN THE MAIL SERVER  the latest, with their true address and name (XCLIENT)'])
  const send = folded([SEND, ...commands(state.mail)])
  const last = folded([`METRICS curl http://${state.admin}/metrics`, `LOG ${state.logFile}  ·  Ctrl-C ends the demo`])
  let room = rows - [top, flows, honest, arrived, send, last].reduce((sum, part) => sum + part.length, 0)
  const reasons = whole(
    state.figures.why.map((each) => whyLines(each, columns)),
    Math.max(FEWEST_REASONS, room - FEWEST_DELIVERIES),
  )
  room -= reasons.length
  const most = Math.min(MOST_DELIVERIES, Math.max(FEWEST_DELIVERIES, room))
  const deliveries = state.deliveries.slice(0, most).map((each) => clip(deliveryLine(each, columns), columns))
  room -= deliveries.length
  // Blank lines separate the parts only where there are rows to spare.
  const gap = room >= 4 ? [''] : []
  return [
    ...[...top, ...gap, ...flows, ...reasons, ...gap, ...honest, ...gap],
    ...[...arrived, ...deliveries, ...gap, ...send, ...last],
  ].slice(0, rows)
}

/** For a log or a pipe, where lines are not folded: what never changes, printed once. */
export function introduction(state: FixedState): string[] {
  return [
    `SPILLWAY ${state.version} demo on ${state.mail}`,
    SIMULATED,
    ...(state.ignored.length > 0 ? [ignoredLine(state.ignored)] : []),
    `METRICS  curl http://${state.admin}/metrics`,
    `LOG  ${state.logFile}${state.logStays ? '' : '  (deleted at the end; --log PATH keeps it)'}`,
    SEND,
    ...commands(state.mail),
  ]
}

/**
 * For a log or a pipe: what changes, printed each time. It is also the final report on a terminal.
 * @param columns the width of the terminal; without it lines are not folded
 */
export function report(state: ScreenState, columns = Number.POSITIVE_INFINITY): string[] {
  const { flows, honest } = summary(state, false, columns)
  const why = state.figures.why.flatMap((each) => whyLines(each, columns))
  return [...fold(head(state), columns, 4), ...flows, ...why, ...honest]
}
