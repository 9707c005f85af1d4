// A timeline as SVG: shares between 0 and 1 over seconds, one line for each contender.

export interface Line {
  readonly name: string
  readonly points: readonly { readonly s: number; readonly share: number }[]
}

const COLOURS = ['#1b6ca8', '#c8553d', '#777777']
const BOX = { left: 50, top: 40, width: 640, height: 240 }

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')

export function chart(title: string, lines: readonly Line[]): string {
  const longest = Math.max(1, ...lines.flatMap(({ points }) => points.map(({ s }) => s)))
  const x = (s: number): string => (BOX.left + (s / longest) * BOX.width).toFixed(1)
  const y = (share: number): string => (BOX.top + (1 - share) * BOX.height).toFixed(1)
  const right = BOX.left + BOX.width
  const grid = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => [
    `<line x1="${BOX.left}" y1="${y(share)}" x2="${right}" y2="${y(share)}" stroke="#ddd"/>`,
    `<text x="${BOX.left - 6}" y="${y(share)}" text-anchor="end" dominant-baseline="middle">${share * 100} %</text>`,
  ])
  const drawn = lines.flatMap(({ name, points }, i) => {
    const colour = COLOURS[i % COLOURS.length]
    const path = points.map(({ s, share }) => `${x(s)},${y(share)}`).join(' ')
    return [
      `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`,
      `<text x="${BOX.left + i * 120}" y="${BOX.top + BOX.height + 38}" fill="${colour}">${escaped(name)}</text>`,
    ]
  })
  return `${[
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 330" font-family="sans-serif" font-size="12">',
    '<rect width="720" height="330" fill="#fff"/>',
    `<text x="${BOX.left}" y="22" font-size="14">${escaped(title)}</text>`,
    ...grid,
    `<text x="${BOX.left}" y="${BOX.top + BOX.height + 18}">0 s</text>`,
    `<text x="${right}" y="${BOX.top + BOX.height + 18}" text-anchor="end">${longest} s</text>`,
    ...drawn,
    '</svg>',
  ].join('\n')}\n`
}
