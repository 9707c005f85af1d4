/** What the pages are made of: cards, tables, and what a browser is told about a page before it reads it. */
import { createHash } from 'node:crypto'
import { html, type Markup } from './html.ts'
import { STYLE } from './style.ts'

export const card = (title: string, content: Markup): Markup =>
  html`<section class="card"><h2>${title}</h2>${content}</section>`

/** A column: its name, and what is in it where that is no text. */
export type Head = string | readonly [name: string, kind: 'n' | 'wide']

const headOf = (head: Head): Markup =>
  typeof head === 'string'
    ? html`<th scope="col">${head}</th>`
    : html`<th scope="col" class="${head[1]}">${head[0]}</th>`

/** @param name no other table of the page has it */
export const table = (name: string, heads: readonly Head[], rows: readonly Markup[]): Markup =>
  html`<div class="scroll" role="region" aria-label="${name}" tabindex="0"><table><thead><tr>${heads.map(headOf)}</tr></thead><tbody>${rows}</tbody></table></div>`

/** Where an address, a network, a sender or an id is explained. */
export const explainAt = (asked: string): string => `/explain?q=${encodeURIComponent(asked)}`

/** The field in which one asks. @param asked what is in it already @param isWrong whether the element `wrong` says what is wrong with it */
export const askForm = (asked = '', isWrong = false): Markup =>
  html`<form id="ask" role="search" action="/explain"><label for="q">Explain an address, a network, a sender or an id </label><input id="q" name="q" value="${asked}" maxlength="300" autocomplete="off" autocapitalize="none" spellcheck="false"${isWrong ? html` aria-invalid="true" aria-describedby="wrong"` : ''}><button>Explain</button></form>`

const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

/**
 * Header fields: a browser runs and loads nothing but what this program wrote, shows the page in no other one, and gives no other one a
 * handle on its window. @param script that of the page; undefined: it has none
 */
export const fieldsFor = (script?: string): readonly string[] => [
  `Content-Security-Policy: default-src 'none'; style-src ${hash(STYLE)}; ${script === undefined ? '' : `script-src ${hash(script)}; connect-src 'self'; `}img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'`,
  'Referrer-Policy: no-referrer',
  'X-Frame-Options: DENY',
  'Cross-Origin-Opener-Policy: same-origin',
  'Cross-Origin-Resource-Policy: same-origin',
]
