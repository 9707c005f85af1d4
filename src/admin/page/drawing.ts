/** Bars and lines, drawn as SVG, because the page allows no styles of single elements. What they show is also there in words. */
import { html, type Markup, raw } from './html.ts'

const WIDTH = 120
const HEIGHT = 32

const places = (n: number): string => n.toFixed(1)

/** @param values at least one, the latest last @param normal drawn as a dashed line */
export function sparkline(values: readonly number[], normal?: number): Markup {
  const most = Math.max(1, ...values, normal ?? 0)
  const y = (value: number): string => places(HEIGHT - 2 - (value / most) * (HEIGHT - 4))
  const x = (i: number): string => places(WIDTH - (values.length - 1 - i) * (WIDTH / 59))
  const points = values.map((value, i) => `${x(i)},${y(value)}`)
  const usual =
    normal === undefined ? '' : `<line class="usual" x1="0" x2="${WIDTH}" y1="${y(normal)}" y2="${y(normal)}"/>`
  const area = `<polygon class="area" points="${x(0)},${HEIGHT} ${points.join(' ')} ${WIDTH},${HEIGHT}"/>`
  return raw(
    `<svg class="spark" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">${area}${usual}<polyline points="${points.join(' ')}"/></svg>`,
  )
}

/** @param part of the whole, 0 to 1 @param mark a line at this part */
export function bar(part: number, kind: 'plain' | 'good' | 'warn' | 'bad' | 'pale' = 'plain', mark?: number): Markup {
  const width = places(Math.min(1, Math.max(0, part)) * 100)
  const line =
    mark === undefined ? raw('') : raw(`<rect class="mark" x="${places(mark * 100 - 0.4)}" width="0.8" height="8"/>`)
  return html`<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="ground" width="100" height="8"/><rect class="${kind}" width="${width}" height="8"/>${line}</svg>`
}
