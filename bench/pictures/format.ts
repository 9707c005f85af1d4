// Numbers in words, by Grafana's names of units.

const digits = (value: number): string => {
  const size = Math.abs(value)
  return Number(value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)).toString()
}

/** The largest unit that the value has at least one of. */
function scaled(value: number, units: readonly (readonly [size: number, name: string])[]): string {
  const [size, name] = units.find(([each]) => Math.abs(value) >= each) ?? (units.at(-1) as readonly [number, string])
  return `${digits(value / size)}${name}`
}

const COUNTS = [
  [1e9, ' Bil'],
  [1e6, ' Mil'],
  [1e3, ' K'],
  [1, ''],
] as const
const TIMES = [
  [86_400, ' d'],
  [3600, ' h'],
  [60, ' min'],
  [1, ' s'],
  [1e-3, ' ms'],
  [1e-6, ' µs'],
] as const
const SIZES = [
  [1 << 30, ' GiB'],
  [1 << 20, ' MiB'],
  [1 << 10, ' KiB'],
  [1, ' B'],
] as const

export function formatted(value: number, unit: string | undefined): string {
  if (unit === 'percentunit') return `${digits(value * 100)} %`
  if (unit === 's') return value === 0 ? '0 s' : scaled(value, TIMES)
  if (unit === 'bytes') return scaled(value, SIZES)
  return `${scaled(value, COUNTS)}${unit === 'cps' ? ' /s' : ''}`
}

/** Round figures from 0 to at least `most`: about four. They are round in the unit that they are told in. */
export function ticks(most: number, unit: string | undefined): readonly number[] {
  const units = unit === 'bytes' ? SIZES : unit === 's' ? TIMES : []
  const [size] = units.find(([each]) => most >= each) ?? [1]
  return round(most / size).map((each) => each * size)
}

function round(most: number): readonly number[] {
  const rough = Math.max(most, 1e-9) / 4
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = ([1, 2, 2.5, 5, 10].find((each) => each * power >= rough) as number) * power
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, i) => i * step)
}
