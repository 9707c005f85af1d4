// Grafana's named colours as it draws them on dark ground, and which of them a series has.

import type { Panel } from './model.ts'

const HUES: Readonly<Record<string, string>> = {
  'dark-green': '#37872d',
  green: '#73bf69',
  'light-green': '#96d98d',
  'dark-yellow': '#e0b400',
  yellow: '#fade2a',
  'light-yellow': '#ffee52',
  orange: '#ff9830',
  'light-orange': '#ffb357',
  'dark-blue': '#1f60c4',
  blue: '#5794f2',
  'light-blue': '#8ab8ff',
  'dark-purple': '#8f3bb8',
  purple: '#b877d9',
  'light-purple': '#ca95e5',
  red: '#f2495c',
  text: '#ccccdc',
}
const BLUES = ['#5794f2', '#8ab8ff', '#3274d9', '#c0d8ff', '#1f60c4', '#6d9eeb']

/** Throws where Grafana has a colour that is not known here. */
export function hexOf(name: string): string {
  const hex = HUES[name]
  if (hex === undefined) throw new Error(`bench/pictures/colours.ts does not know ${name}`)
  return hex
}

/** Of the series at this place of a panel. Of several overrides that fit, the last counts. */
export function colourOf({ fieldConfig }: Panel, name: string, index: number): string {
  const fit = fieldConfig?.overrides?.findLast(({ matcher }) => new RegExp(matcher.options.slice(1, -1)).test(name))
  const fixed = fit?.properties.find(({ id }) => id === 'color')?.value.fixedColor
  if (fixed !== undefined) return hexOf(fixed)
  const { color } = fieldConfig?.defaults ?? {}
  return color?.mode === 'fixed' ? hexOf(color.fixedColor ?? 'blue') : (BLUES[index % BLUES.length] as string)
}
