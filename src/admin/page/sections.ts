/** The parts of the page, one function each, of the status. */
import { SIGNALS } from '../../core/overload.ts'
import { reasonOf } from '../../core/reasons.ts'
import type { ReasonRow, TopRow, TrafficReport } from '../../telemetry/traffic/report.ts'
import type { BanReport } from '../bans.ts'
import { percent, seconds, settingOfReason } from '../clauses.ts'
import { limitsThatDiffer, settingsThatDiffer } from '../differences.ts'
import type { Verdict } from '../evidence.ts'
import { inboundOf, knownThrough } from '../inbound.ts'
import type { OverloadStatus, Status } from '../status.ts'
import { bar, sparkline } from './drawing.ts'
import { html, type Markup } from './html.ts'
import { explainAt, type Head, table } from './pieces.ts'
import { count, lasting, share } from './words.ts'

/** Rows of a table that clients can make long. */
const SHOWN = 10

const SEVERITY = { ok: 'All well', warn: 'Look', critical: 'Act now' } as const

export const verdictPart = ({ severity, text, do: act }: Verdict): Markup =>
  html`<section id="verdict" class="${severity}" aria-label="Verdict"><strong class="severity">${SEVERITY[severity]}</strong><p>${text}.</p><p class="do">${act.replace(/^./, (letter) => letter.toUpperCase())}.</p></section>`

interface Figure {
  readonly name: string
  readonly value: string
  readonly values: readonly number[]
  readonly normal?: number | undefined
  readonly note: string
}

const figure = ({ name, value, values, normal, note }: Figure): Markup =>
  html`<li><h3>${name}</h3><p class="value">${value}</p>${values.length > 0 ? sparkline(values, normal) : ''}<p class="note">${note}</p></li>`

const against = (value: number | undefined, normal: number | undefined): string =>
  value === undefined || normal === undefined
    ? 'normal not known yet'
    : `${count(value / Math.max(normal, 1))} × normal (${count(normal)})`

/** Of each minute the share that came through, in percent; a minute without any is as the one before it. */
function knownShares({ minutes: { known, known_shed, known_refused } }: TrafficReport): number[] {
  let last = 100
  return known.map((through, i) => {
    const all = through + (known_shed[i] ?? 0) + (known_refused[i] ?? 0)
    if (all > 0) last = (100 * through) / all
    return last
  })
}

export function figuresPart({ traffic }: Status): Markup {
  if (traffic === undefined) return html`<p>No worker has told its figures yet.</p>`
  const { minutes, normal } = traffic
  const last = (values: readonly number[]): number | undefined => values.at(-1)
  const word = (values: readonly number[]): string => (values.length === 0 ? '–' : count(last(values) as number))
  const known = knownThrough(traffic)
  const turned = last(minutes.shed) ?? 0
  const compared = (
    name: 'connections' | 'messages' | 'senders',
  ): Pick<Figure, 'value' | 'values' | 'normal' | 'note'> => ({
    ...{ value: word(minutes[name]), values: minutes[name], normal: normal?.[name] },
    note: against(last(minutes[name]), normal?.[name]),
  })
  const figures: Figure[] = [
    { name: 'Connections a minute', ...compared('connections') },
    {
      name: 'Told to come back',
      value: word(minutes.shed),
      values: minutes.shed,
      note: `${share(Math.min(1, turned / Math.max(1, last(minutes.connections) ?? 0)))} of connections`,
    },
    { name: 'Messages a minute', ...compared('messages') },
    {
      name: 'Known senders through',
      value: known === undefined ? '–' : percent(known.share),
      values: known === undefined ? [] : knownShares(traffic),
      note: known === undefined ? 'none came in 10 minutes' : `of ${count(known.of)} sessions in 10 minutes`,
    },
    { name: 'Senders a minute', ...compared('senders') },
  ]
  return html`<ul class="figures">${figures.map(figure)}</ul><p class="legend">The last hour, minute by minute. ${normalWords(traffic)}</p>`
}

function normalWords(traffic: TrafficReport): string {
  const { normal, hoursLearnt } = traffic
  const inbound = inboundOf(traffic)
  if (normal?.basis === 'week') return 'Dashed: what is normal in this hour of the week.'
  const learnt = `${hoursLearnt} of the 168 hours of the week are learnt.`
  if (normal !== undefined) return `Dashed: the median of the hours learnt so far. ${learnt}`
  const lately = inbound.times === undefined ? '' : ' The quiet quarter of the last hour stands for it.'
  return `Normal not known yet.${lately} ${learnt}`
}

export function reasonsPart({ traffic }: Status): Markup {
  const rows = (traffic?.reasons ?? []).slice(0, SHOWN)
  if (rows.length === 0) return html`<p>Nobody was turned away in the last hour.</p>`
  const most = Math.max(...rows.map(({ lastHour }) => lastHour))
  const row = (each: ReasonRow): Markup =>
    html`<tr><th scope="row"><code>${each.reason}</code>${each.mode === 'observe' ? html` <em>observed</em>` : ''} · <code>${settingOfReason(each.reason)}</code><br><small>${reasonOf(each.reason).operator}</small></th><td class="wide">${bar(each.lastHour / most, each.mode === 'observe' ? 'pale' : 'plain')}</td><td class="n">${count(each.lastMinute)}</td><td class="n">${count(each.lastHour)}</td></tr>`
  const made = table(
    'Why clients are turned away',
    ['Reason, and its setting', ['In the last hour', 'wide'], ['Last minute', 'n'], ['Last hour', 'n']],
    rows.map(row),
  )
  return html`<div class="tight">${made}</div>`
}

export interface Actions {
  /** Whether there is GET /explain. */
  readonly explains: boolean
}

const link = (network: string, { explains }: Actions): Markup | string =>
  explains
    ? html`<a id="explain-${network}" href="${explainAt(network)}">Explain<span class="unseen"> ${network}</span></a>`
    : ''

const button = (act: 'ban' | 'lift' | 'allow' | 'end', network: string, word: string): Markup =>
  html`<form class="act" method="post" data-act="${act}" data-network="${network}"><button id="${act}-${network}">${word}<span class="unseen"> ${network}</span></button></form>`

const topRow =
  (kind: 'plain' | 'network', most: number, actions: Actions) =>
  ({ key, perMinute, turnedAway }: TopRow): Markup =>
    html`<tr><th scope="row" class="key">${key}</th><td class="wide">${bar(perMinute / most, turnedAway >= 0.5 ? 'bad' : 'plain')}</td><td class="n">${count(perMinute)}</td><td class="n">${share(turnedAway)}</td>${
      kind === 'plain'
        ? ''
        : html`<td class="acts">${link(key, actions)}${button('ban', key, 'Ban 1 h')}${button('allow', key, 'Allow 1 h')}</td>`
    }</tr>`

export function topPart({ traffic }: Status, by: keyof TrafficReport['top'], name: string, actions: Actions): Markup {
  const rows = (traffic?.top[by] ?? []).slice(0, SHOWN)
  if (rows.length === 0) return html`<p>None in the last minutes.</p>`
  const most = Math.max(...rows.map(({ perMinute }) => perMinute))
  const kind = by === 'network' ? 'network' : 'plain'
  const heads: Head[] = [
    name,
    ['How often', 'wide'],
    ['A minute', 'n'],
    ['Turned away', 'n'],
    ...(kind === 'network' ? ['Actions'] : []),
  ]
  const made = table(`Top: ${name}`, heads, rows.map(topRow(kind, most, actions)))
  return kind === 'network' ? html`<div class="tight">${made}</div>` : made
}

const STATES: Readonly<Record<string, string>> = {
  up: 'good',
  slow: 'warn',
  down: 'bad',
  draining: 'pale',
  drained: 'pale',
  unknown: 'warn',
}

export function upstreamsPart({ upstreams, overload }: Status, now: number): Markup {
  const row = (each: Status['upstreams'][number]): Markup => {
    const { upstream, address, state, since, error, connections, limit, dotSeconds, last_success } = each
    const isLate =
      dotSeconds !== undefined && dotSeconds >= (overload?.latencyTargetSeconds ?? Number.POSITIVE_INFINITY)
    const used = limit === 0 ? 0 : connections / limit
    const success = last_success === undefined ? 'never' : `${lasting(now - Date.parse(last_success))} ago`
    return html`<tr><th scope="row">${upstream}${[address === upstream ? undefined : address, error].map((each) => (each === undefined ? '' : html`<br><small>${each}</small>`))}</th><td class="state-for"><span class="state ${STATES[state] ?? 'pale'}">${state}</span> ${lasting(now - Date.parse(since))}</td><td class="wide">${bar(used, used >= 0.9 ? 'warn' : 'plain')}</td><td class="n">${connections} / ${limit}</td><td class="n">${dotSeconds === undefined ? '–' : html`<span class="state ${isLate ? 'bad' : 'good'}">${seconds(dotSeconds)}</span>`}</td><td class="n">${success}</td></tr>`
  }
  const heads: Head[] = [
    ...([
      'Server',
      'State',
      ['Connections', 'wide'],
      ['Used / limit', 'n'],
      ['Dot (p95)', 'n'],
      ['Last well', 'n'],
    ] as const),
  ]
  return table('Mail servers', heads, upstreams.map(row))
}

const SIGNAL_NAMES: Readonly<Record<(typeof SIGNALS)[number], string>> = {
  upstream_slots: 'Connections to mail servers',
  upstream_latency: 'Mail servers slow to accept',
  reported_queue: 'Reported queue',
  connections: 'Client connections',
  event_loop: 'Event loop',
  memory: 'Memory',
  global_limits: 'Limits for all',
}
const LEVEL_NAMES = ['normal', 'elevated', 'stressed', 'shedding new senders', 'survival'] as const
/** The bars end at this pressure. */
const MOST_PRESSURE = 2

/** What decides about the level, unless it is the pressure as usual. */
function modeWords({ mode, pinnedUntil }: OverloadStatus): string {
  if (pinnedUntil !== undefined) return ` (spillway level ${mode}, until ${pinnedUntil})`
  return mode === 'auto' ? '' : ` (SPILLWAY_OVERLOAD=${mode})`
}

export function pressurePart({ overload, observing = [] }: Status, now: number): Markup {
  if (overload === undefined) return html`<p>No worker has told its level yet.</p>`
  const { level, since, signals, admission } = overload
  const rows = SIGNALS.map((signal) => {
    const value = signals[signal]
    const kind = value >= 1 ? 'bad' : value >= 0.8 ? 'warn' : 'good'
    return html`<tr><th scope="row">${SIGNAL_NAMES[signal]}</th><td class="wide">${bar(value / MOST_PRESSURE, kind, 1 / MOST_PRESSURE)}</td><td class="n">${value.toFixed(2)}</td></tr>`
  })
  const shares = Object.entries(admission)
    .filter(([standing]) => standing !== 'banned')
    .map(([standing, part]) => `${standing} ${share(part)}`)
    .join(', ')
  const observed =
    observing.length === 0 ? 'No check is only observed.' : `Only observed (SPILLWAY_OBSERVE): ${observing.join(', ')}.`
  return html`<div class="keep"><p>Level <strong>${level}, ${LEVEL_NAMES[level]}</strong>${modeWords(overload)} for ${lasting(now - Date.parse(since))}. Let in: ${shares}. ${observed}</p>${table('Pressure', ['Signal', ['The line is the target', 'wide'], ['Of target', 'n']], rows)}</div>`
}

/** What the operator's lists have, the latest first. */
export interface Entries {
  readonly total: number
  readonly rows: readonly BanReport[]
}

/** @param name of the table @param head of the column of networks @param act what takes an entry away, and the word for it */
const entriesWith =
  (name: string, head: string, ...act: readonly ['lift' | 'end', string]) =>
  ({ total, rows }: Entries, now: number, actions: Actions): Markup => {
    const row = ({ network, by, reason, until }: BanReport): Markup =>
      html`<tr><th scope="row" class="key">${network}</th><td>${by}</td><td class="words">${reason}</td><td class="n">${lasting(Date.parse(until) - now)}</td><td class="acts">${link(network, actions)}${button(act[0], network, act[1])}</td></tr>`
    const more = total > rows.length ? html`<p>${rows.length} of ${total}, the latest first.</p>` : ''
    return html`${table(name, [head, 'By', 'Why', ['Still', 'n'], 'Actions'], rows.map(row))}${more}`
  }
const bannedWith = entriesWith('Bans', 'Banned', 'lift', 'Lift')
const allowedWith = entriesWith('Allowed for a while', 'Allowed', 'end', 'End')

/** @param banned undefined: that is not known */
export function bansPart(banned: Entries | undefined, now: number, actions: Actions): Markup {
  if (banned === undefined) return html`<p>Who is banned is not known: no worker answers.</p>`
  return banned.total === 0 ? html`<p>Nobody is banned.</p>` : bannedWith(banned, now, actions)
}

/** What the operator allows at run time; nothing where nothing is. */
export const allowedPart = (allowed: Entries | undefined, now: number, actions: Actions): Markup =>
  allowed === undefined || allowed.total === 0 ? html`` : allowedWith(allowed, now, actions)

export function nodePart(status: Status): Markup {
  const { node, version, uptimeSeconds, connectionsOpen, settings, redis, kernel, workers = [], clients, tls } = status
  const stale = settings.needsRestart.length === 0 ? '' : `; waiting for a restart: ${settings.needsRestart.join(', ')}`
  const alone = redis === undefined ? 'this one alone (no Redis)' : `${redis.nodes}; Redis is ${redis.state}`
  const facts: readonly (readonly [string, string])[] = [
    ['Node', `${node}, version ${version}, up ${lasting(uptimeSeconds * 1000)}`],
    ['Settings', `${settings.hash}${stale}`],
    ['Nodes', alone],
    ...limitsThatDiffer(status).map((each) => ['Limits differ', each] as const),
    ...settingsThatDiffer(status).map((each) => ['Other settings', each] as const),
    ['Open', `${count(connectionsOpen)} connections of clients`],
    [
      'Remembered',
      `${count(clients.known)} known, ${count(clients.seen)} seen, ${count(clients.suspect)} suspect clients`,
    ],
    ...(kernel === undefined
      ? []
      : [['Kernel', `its table is ${kernel.state}; it drops what comes from ${count(kernel.held)} sources`] as const]),
    ...(tls?.certificates ?? []).map(
      ({ name, expires, warnings }) =>
        ['Certificate', `${name}: ${warnings.join('; ') || 'well'}, expires ${expires.slice(0, 10)}`] as const,
    ),
  ]
  const rows = workers.map(
    ({ worker, up, restarts, pid, uptimeSeconds: age = 0, connectionsOpen: open = 0, settings: hash }) =>
      html`<tr><th scope="row">${worker}</th><td><span class="state ${up ? 'good' : 'bad'}">${up ? 'up' : 'does not answer'}</span> ${lasting(age * 1000)}</td><td class="n">${pid ?? '–'}</td><td class="n">${count(open)}</td><td class="n">${restarts}</td><td><code>${hash ?? '–'}</code></td></tr>`,
  )
  return html`<dl>${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>${rows.length === 0 ? '' : table('Workers', ['Worker', 'State', ['Process', 'n'], ['Open', 'n'], ['Restarts', 'n'], 'Settings'], rows)}`
}
