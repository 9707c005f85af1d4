// Words and boxes of SVG.

export interface Box {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

export const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')

/** Of the width of a letter, in font sizes; measured for DejaVu Sans. */
const LETTER = 0.58

/** As much of a text as is at most so wide. */
export function clipped(text: string, width: number, size: number): string {
  const most = Math.floor(width / (LETTER * size))
  return text.length <= most ? text : `${text.slice(0, Math.max(0, most - 1))}…`
}

export interface Words {
  readonly x: number
  readonly y: number
  readonly size?: number
  readonly colour?: string
  readonly anchor?: 'start' | 'middle' | 'end'
  /** What is wider is cut. */
  readonly width?: number
}

export function words(text: string, { x, y, size = 12, colour, anchor, width }: Words): string {
  const fill = colour === undefined ? '' : ` fill="${colour}"`
  const from = anchor === undefined ? '' : ` text-anchor="${anchor}"`
  const shown = width === undefined ? text : clipped(text, width, size)
  return `<text x="${round(x)}" y="${round(y)}" font-size="${size}"${fill}${from} xml:space="preserve">${escaped(shown)}</text>`
}

export const round = (value: number): string => Number(value.toFixed(1)).toString()
