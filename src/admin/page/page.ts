/**
 * `GET /`: the state of this node for a person, on one page that needs nothing else. It is put together here and works without
 * JavaScript; with it, the page replaces itself (script.ts). What clients choose is escaped in one place (html.ts), and a browser runs
 * and loads nothing but what this program wrote (Content-Security-Policy, by the hashes of the style and the script).
 */
import type { Clock } from '../../core/clock.ts'
import { type BansParts, reportOf } from '../bans.ts'
import type { Verdict } from '../evidence.ts'
import type { Response } from '../response.ts'
import type { Status } from '../status.ts'
import { verdictOf } from '../verdict.ts'
import { html, type Markup, raw } from './html.ts'
import { askForm, card, fieldsFor } from './pieces.ts'
import { SCRIPT } from './script.ts'
import {
  type Actions,
  allowedPart,
  bansPart,
  type Entries,
  figuresPart,
  nodePart,
  pressurePart,
  reasonsPart,
  topPart,
  upstreamsPart,
  verdictPart,
} from './sections.ts'
import { STYLE } from './style.ts'
import { clockTime } from './words.ts'

export interface PageParts extends BansParts {
  readonly status: () => Status | Promise<Status>
  readonly clock: Clock
}

const BANS_SHOWN = 10
const REFRESH_S = 10

const FIELDS = fieldsFor(SCRIPT)

const COLOURS: Readonly<Record<Verdict['severity'], string>> = { ok: '1f7a3d', warn: 'e09a1a', critical: 'b3261e' }
const icon = ({ severity }: Verdict): string =>
  `data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E%3Ccircle cx='4' cy='4' r='4' fill='%23${COLOURS[severity]}'/%3E%3C/svg%3E`

/** Undefined where no worker answers, which is just when the rest of the page is wanted. */
const latestOf = async (list: Pick<BansParts['bans'], 'latest'>): Promise<Entries | undefined> => {
  try {
    const { total, bans } = await list.latest(BANS_SHOWN)
    return { total, rows: bans.map(reportOf) }
  } catch {
    return undefined
  }
}

/** @param actions what may be done to a network on this page */
export async function pageOf({ status: ask, bans, clock }: PageParts, actions: Actions): Promise<Response> {
  const [status, banned, allowed] = await Promise.all([ask(), latestOf(bans), latestOf(bans.allowed)])
  const now = clock.now()
  const verdict = verdictOf(status, now)
  const top = (by: 'network' | 'helo' | 'domain', name: string): Markup => topPart(status, by, name, actions)
  const live = html`<main id="live">${verdictPart(verdict)}${figuresPart(status)}<div class="cards">
${card('Mail servers', upstreamsPart(status, now))}
${card('Why clients are turned away', reasonsPart(status))}
${card('Networks that come most often', top('network', 'Network'))}
${card('Pressure', pressurePart(status, now))}
${card('Names in HELO', top('helo', 'HELO'))}
${card('Domains of recipients', top('domain', 'Domain'))}
${card('Bans', html`${bansPart(banned, now, actions)}${allowedPart(allowed, now, actions)}`)}
${card('Node', nodePart(status))}
</div><p class="legend">As of ${clockTime(now)}. All of it is of this node alone.</p></main>`
  return {
    code: 200,
    type: 'text/html; charset=utf-8',
    body: whole({ status, verdict, live }, actions).text,
    fields: FIELDS,
  }
}

interface Whole {
  readonly status: Pick<Status, 'node' | 'version'>
  readonly verdict: Verdict
  readonly live: Markup
}

/** The field in which one asks is outside of what is replaced all the time; without a script the whole page is, so there is a link. */
const whole = (
  { status: { node, version }, verdict, live }: Whole,
  { explains }: Actions,
): Markup => html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>${verdict.severity === 'ok' ? '' : `${verdict.severity}: `}${node}, Spillway</title><link id="icon" rel="icon" href="${icon(verdict)}">
<noscript><meta http-equiv="refresh" content="${REFRESH_S}"></noscript><style>${raw(STYLE)}</style></head>
<body><header><h1>Spillway on ${node}</h1><span>${version}</span>${explains ? html`<noscript><a href="/explain">Explain an address, a sender or an id</a></noscript>${askForm()}` : ''}</header>
<div id="stale" role="alert"></div><div id="spoken" class="unseen" role="status"></div>
${live}
<footer><form id="operator" method="post"><label for="token">Admin token, for the buttons </label><input id="token" type="password" autocomplete="off"><button>Keep for this tab</button><span id="said" role="status"></span></form></footer>
<script>${raw(SCRIPT)}</script></body></html>
`
