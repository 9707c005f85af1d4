/** Text of the page. Whatever is put into a template is escaped, unless it is a piece of the page itself. */

/** A piece of the page, which is escaped already. */
export class Markup {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

type Piece = string | number | Markup | undefined | readonly Piece[]

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/**
 * Clients choose names. None of them ends an element or an attribute, and none has characters that are not seen, or that turn the
 * direction of the text around them.
 */
export const escaped = (text: string): string =>
  text.replace(/[&<>"']/g, (each) => ENTITIES[each] as string).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '\ufffd')

function textOf(piece: Piece): string {
  if (piece === undefined) return ''
  if (piece instanceof Markup) return piece.text
  if (typeof piece === 'object') return piece.map(textOf).join('')
  return escaped(String(piece))
}

export const html = (strings: TemplateStringsArray, ...pieces: readonly Piece[]): Markup =>
  new Markup(strings.map((string, i) => string + textOf(pieces[i])).join(''))

/** What a browser is told that may be in the page and is written by us alone. */
export const raw = (text: string): Markup => new Markup(text)
