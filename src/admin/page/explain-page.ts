/**
 * `GET /explain?q=…`: an explanation for a person, as a page without a script. It says what `spillway explain` says, in the same words
 * (explain-facts.ts): the verdict, in what nodes differ, what would change it, and what that follows from.
 */
import { messageOf } from '../../core/errors.ts'
import { type Explain, type Explanation, LONGEST } from '../explain.ts'
import { type Fact, type Facts, factsOf, type LimitFact, type NodeFacts, type SessionFact } from '../explain-facts.ts'
import type { Request } from '../request.ts'
import type { Response } from '../response.ts'
import { bar } from './drawing.ts'
import { html, type Markup, raw } from './html.ts'
import { askForm, card, explainAt, fieldsFor, table } from './pieces.ts'
import { STYLE } from './style.ts'

const FIELDS = fieldsFor()

const CLASS_OF = { 'let in': 'ok', 'partly put off': 'warn', 'put off': 'warn', refused: 'critical' } as const

export async function explainPage({ query, isLed }: Request, explain: Explain): Promise<Response> {
  const asked = (query.get('q') ?? '').trim()
  if (asked === '') return page(200, 'Explain', askForm(), html``)
  const wrong = (code: number, asking: string, words: string): Response =>
    page(code, 'Explain', askForm(asking, true), html`<p id="wrong" role="alert">${words}</p>`)
  if (asked.length > LONGEST)
    return wrong(400, '', `That cannot be explained: it is longer than ${LONGEST} characters.`)
  if (isLed)
    return page(
      200,
      'Explain',
      askForm(asked),
      html`<p role="status">Another page has led here, so nothing was asked yet. Press Explain if it is what you want to know.</p>`,
    )
  let answer: Awaited<ReturnType<Explain>>
  try {
    answer = await explain(asked)
  } catch (error) {
    return wrong(503, asked, `That cannot be told at the moment: ${messageOf(error)}.`)
  }
  if ('mistake' in answer) return wrong(400, asked, `That cannot be explained: ${answer.mistake}.`)
  return page(200, `${titleOf(answer)}, explained`, askForm(asked), explanation(factsOf(answer)))
}

function titleOf(answer: Explanation): string {
  switch (answer.kind) {
    case 'address':
      return answer.address
    case 'network':
      return answer.network
    case 'sender':
      return answer.sender
    case 'id':
      return answer.id
  }
}

const page = (code: number, title: string, form: Markup, content: Markup): Response => ({
  code,
  type: 'text/html; charset=utf-8',
  body: html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>${title}, Spillway</title><link rel="icon" href="data:,"><style>${raw(STYLE)}</style></head>
<body class="explain"><header><h1>${title}</h1><a href="/">Status of this node</a></header>
<main>${form}
${content}</main></body></html>
`.text,
  fields: FIELDS,
})

function explanation(facts: Facts): Markup {
  const { outcome, at, verdict, differences, change, limits, nodes, nodesNote, bans, sessionNotes } = facts
  const of = (...about: readonly Fact['about'][]): readonly Fact[] =>
    facts.facts.filter((each) => about.includes(each.about))
  const severity = outcome === undefined ? 'ok' : CLASS_OF[outcome]
  const label =
    outcome === undefined
      ? ''
      : html`<strong class="severity">Now${at === undefined ? '' : ` at ${at}`}: ${outcome}</strong>`
  return html`<section id="verdict" class="${severity}" aria-label="Verdict">${label}<p>${verdict}</p></section>
${differences.length === 0 ? '' : card('What differs between nodes', list(differences, 'differs'))}
${change.length === 0 ? '' : card('What would change it', list(change))}
${limits.length === 0 ? '' : card('Limits', limitsTable('Limits', limits))}
<div class="cards">${factsCard('Standing', of('who', 'load'))}${factsCard('Tests and DNS', of('tests'))}
${factsCard('Bans', of('bans'), bans.length === 0 ? '' : list(bans))}</div>
${card('Last sessions', html`${sessions('Turned away lately', facts.refused)}${sessions('Let in lately', facts.served)}${sessionNotes.map((note) => html`<p class="note">${note}</p>`)}`)}
${nodesNote === undefined ? '' : card('Other nodes', nodesPart(nodes, nodesNote))}`
}

const list = (sentences: readonly string[], kind = 'plain'): Markup =>
  html`<ul class="sentences ${kind}">${sentences.map((each) => html`<li>${each}</li>`)}</ul>`

const factsList = (facts: readonly Fact[]): Markup =>
  html`<dl>${facts.map(({ name, words }) => html`<div><dt>${name}</dt><dd>${words}</dd></div>`)}</dl>`

const factsCard = (title: string, facts: readonly Fact[], more: Markup | string = ''): Markup =>
  facts.length === 0 && more === '' ? html`` : card(title, html`${facts.length === 0 ? '' : factsList(facts)}${more}`)

function limitsTable(name: string, limits: readonly LimitFact[]): Markup {
  const row = ({ limit, setting, used, max, within, per, reset }: LimitFact): Markup => {
    const part = max > 0 ? used / max : 1
    return html`<tr><th scope="row"><code>${limit}</code><br><small><code>${setting}</code></small></th><td class="wide">${bar(Math.min(1, part), part >= 1 ? 'bad' : part >= 0.5 ? 'warn' : 'plain')}</td><td class="n">${used}</td><td class="n">${max}</td><td>${within} ${per}</td><td>${reset}</td></tr>`
  }
  const heads = [
    'Limit, and its setting',
    ['Part', 'wide'],
    ['Used', 'n'],
    ['Maximum', 'n'],
    'Counted',
    'Reset',
  ] as const
  return table(name, heads, limits.map(row))
}

const link = (asked: string): Markup => html`<a href="${explainAt(asked)}">${asked}</a>`

function sessions(title: string, rows: readonly SessionFact[]): Markup {
  if (rows.length === 0) return html``
  const row = ({ at, id, host, ip, standing, stage, why, said }: SessionFact): Markup =>
    html`<tr><th scope="row">${at}<br><code>${link(id)}</code></th><td>${host}</td><td class="key">${link(ip)}<br><small>${standing}</small></td><td class="words">${stage}: ${why}</td><td class="words">${said.map((each) => html`<div>${each}</div>`)}</td></tr>`
  const heads = ['When, and its id', 'Node', 'Client', 'What became of it', 'What it said']
  return html`<h3>${title}</h3>${table(title, heads, rows.map(row))}`
}

/** There may be very many, and each page is put together on the event loop that mail is on: of most there is one line then. */
const WHOLE_NODES = 20

function nodesPart(nodes: readonly NodeFacts[], note: string): Markup {
  const answered = nodes.filter((each) => each.answered)
  const rest = answered.slice(WHOLE_NODES).map(({ node, says }) => html`<p><strong>${node}</strong> says: ${says}</p>`)
  const more =
    rest.length === 0
      ? ''
      : html`${rest}<p class="note">Of the last ${rest.length} nodes there are facts and limits in what spillway explain says.</p>`
  const silent = nodes.filter((each) => !each.answered)
  return html`${[...silent, ...answered.slice(0, WHOLE_NODES)].map(nodePart)}${more}<p class="note">${note}</p>`
}

/** What a node says in one line; the rest of it when it is opened. */
function nodePart({ node, answered, says, facts, limits }: NodeFacts): Markup {
  if (!answered) return html`<p class="silent"><strong>${node}</strong>: ${says}.</p>`
  const more = limits.length === 0 ? '' : limitsTable(`Limits at ${node}`, limits)
  return html`<details><summary><strong>${node}</strong> says: ${says}</summary>${factsList(facts)}${more}</details>`
}
