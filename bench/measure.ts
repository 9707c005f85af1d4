// What benchmarks share: CPU time from the operating system, alternating rounds, medians, and Markdown tables.

import { readdirSync, readFileSync } from 'node:fs'

/** Linux reports a process's CPU time in ticks of 10 ms, whatever the kernel's own tick is (USER_HZ in proc(5)). */
const MS_PER_TICK = 10

/**
 * CPU time in ms, user and system, that these processes and all their descendants have used so far. It includes
 * children that have ended and were waited for, since their parent's stat counts them. Living processes are read from
 * schedstat, to the nanosecond and thread by thread: otherwise a median of short rounds would be a median of 10 ms
 * ticks.
 * @param name counts only processes of that name (comm in proc(5))
 */
export function cpuMs(roots: readonly number[], name?: string): number {
  const counted = processes(roots).filter((each) => name === undefined || each.name === name)
  return counted.reduce((sum, { pid, fields }) => {
    const ticks = (first: number) => (Number(fields[first]) + Number(fields[first + 1])) * MS_PER_TICK
    return sum + (fields[0] === 'Z' ? ticks(11) : (onCpuMs(pid) ?? ticks(11))) + ticks(13)
  }, 0)
}

interface Process {
  readonly pid: number
  readonly name: string
  /** The fields of /proc/pid/stat from the third on (proc(5)): state, ppid, …; 11 to 14 are the CPU times. */
  readonly fields: readonly string[]
}

function processes(roots: readonly number[]): Process[] {
  const all = readdirSync('/proc').flatMap((entry): Process[] => {
    if (!/^\d+$/.test(entry)) return []
    const stat = readIfThere(`/proc/${entry}/stat`)
    // The second field is the name, which may itself hold spaces and parentheses.
    const end = stat.lastIndexOf(')')
    const name = stat.slice(stat.indexOf('(') + 1, end)
    return stat === '' ? [] : [{ pid: Number(entry), name, fields: stat.slice(end + 2).split(' ') }]
  })
  const wanted = new Set(roots)
  for (let before = 0; before !== wanted.size; ) {
    before = wanted.size
    for (const { pid, fields } of all) if (wanted.has(Number(fields[1]))) wanted.add(pid)
  }
  return all.filter(({ pid }) => wanted.has(pid))
}

/** Undefined if the kernel keeps no schedstat, or the process is gone. */
function onCpuMs(pid: number): number | undefined {
  try {
    return readdirSync(`/proc/${pid}/task`).reduce(
      (sum, thread) => sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e6,
      0,
    )
  } catch {
    return undefined
  }
}

/** CPU time in ms, user and system, that this one process has used so far, without its children. */
export function ownCpuMs(pid: number): number {
  const ms = onCpuMs(pid)
  if (ms === undefined) throw new Error(`process ${pid} is gone, or this kernel keeps no schedstat`)
  return ms
}

/** Resident memory of a process in bytes: now, and at its peak. */
export function residentBytes(pid: number): { readonly now: number; readonly peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024
  return { now: field('VmRSS'), peak: field('VmHWM') }
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

export const ROUNDS = 9

/**
 * Lets all contenders take their turns, round after round and every other round in reverse order, so that anything that
 * slows the machine down for a while affects all of them. The first round, in which code is compiled and processes are
 * started, is dropped.
 * @returns the results by contender, `rounds` for each; those at one index are from the same round
 */
export async function alternate<Name extends string, T>(
  contenders: Readonly<Record<Name, () => Promise<T>>>,
  rounds = ROUNDS,
): Promise<Record<Name, T[]>> {
  const names = Object.keys(contenders) as Name[]
  const results = Object.fromEntries(names.map((name) => [name, [] as T[]])) as Record<Name, T[]>
  for (let round = 0; round <= rounds; round++) {
    progress(`round ${round} of ${rounds}${round === 0 ? ' (warming up)' : ''}`)
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const result = await contenders[name]()
      if (round > 0) results[name].push(result)
    }
  }
  progress('')
  return results
}

/** The middle one of an odd number of values. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

/** The median of the ratios within each round, so that anything that slows down a whole round cancels out. */
export function ratio(ours: readonly number[], theirs: readonly number[]): number {
  return median(ours.map((value, round) => value / (theirs[round] ?? Number.NaN)))
}

/** A number beside its goal, such as `0.54 (goal: at most 0.7; met)`. A missed goal is marked in bold. */
export function judged(value: number, goal: { atMost: number } | { atLeast: number }, digits = 2, unit = ''): string {
  const met = 'atMost' in goal ? value <= goal.atMost : value >= goal.atLeast
  const target = 'atMost' in goal ? `at most ${goal.atMost}` : `at least ${goal.atLeast}`
  return `${value.toFixed(digits)}${unit} (goal: ${target}${unit}; ${met ? 'met' : '**missed**'})`
}

/** A Markdown table as the formatter wants it. The first column holds words, the others hold numbers. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((cells) => cells[column]?.length ?? 0), 4))
  const fit = (cell: string, column: number) => {
    const width = widths[column] ?? 0
    return column === 0 ? cell.padEnd(width) : cell.padStart(width)
  }
  const line = (cells: readonly string[]) => `| ${cells.map(fit).join(' | ')} |`
  const rule = widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return [line(head), `| ${rule.join(' | ')} |`, ...rows.map(line)].join('\n')
}

/** Shows a line on the terminal that the next one replaces; does nothing where stderr is not a terminal. */
export function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

/** The IPv4 address at `offset` from `first`, both in dotted form. */
export function addressAt(first: string, offset: number): string {
  const value = first.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0) + offset
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`
}
