// The memory of a process, so that a leak of a megabyte an hour is seen within half an hour. What is measured is what lives:
// the inspector, which the program is started with for this, is asked to collect garbage first. Beside it stands the lowest
// resident size of each minute, in which also memory outside V8 is seen.

import { readdirSync } from 'node:fs'
import { residentBytes } from '../measure.ts'

export interface Sample {
  /** Seconds since the first one. */
  readonly at: number
  readonly live: number
  readonly resident: number
}

/** One process, asked through its inspector. */
export class Inspected {
  readonly pid: number
  readonly #url: string

  private constructor(url: string, pid: number) {
    this.#url = url
    this.pid = pid
  }

  static async at(url: string): Promise<Inspected> {
    const [found] = await ask(url, [['Runtime.evaluate', { expression: 'process.pid' }]])
    return new Inspected(url, (found as { result: { value: number } }).result.value)
  }

  /** Bytes that live: V8's heap, and buffers. */
  async live(): Promise<number> {
    const answers = await ask(this.#url, [['HeapProfiler.collectGarbage'], ['Runtime.getHeapUsage']])
    const { usedSize, backingStorageSize = 0 } = answers[1] as { usedSize: number; backingStorageSize?: number }
    return usedSize + backingStorageSize
  }

  get resident(): number {
    return residentBytes(this.pid).now
  }

  /** Open file descriptors. */
  get files(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length
  }
}

type Call = readonly [method: string, params?: object]

/** Connects, calls one after the other, and leaves: a connection that stays would be measured too. */
async function ask(url: string, calls: readonly Call[]): Promise<unknown[]> {
  const socket = new WebSocket(url)
  const { promise, resolve, reject } = Promise.withResolvers<unknown[]>()
  const answers: unknown[] = []
  const next = (): void => {
    const call = calls[answers.length]
    if (call === undefined) resolve(answers)
    else socket.send(JSON.stringify({ id: answers.length, method: call[0], params: call[1] ?? {} }))
  }
  socket.onopen = next
  socket.onerror = () => reject(new Error(`the inspector at ${url} does not answer`))
  socket.onmessage = ({ data }) => {
    const { id, result } = JSON.parse(String(data)) as { id?: number; result?: unknown }
    if (id !== answers.length) return
    answers.push(result)
    next()
  }
  try {
    return await promise
  } finally {
    socket.close()
  }
}

export interface Slope {
  /** Bytes an hour, by least squares. */
  readonly perHour: number
  /** Its standard error. */
  readonly error: number
}

export function slopeOf(points: readonly (readonly [seconds: number, bytes: number])[]): Slope | undefined {
  const n = points.length
  if (n < 5) return undefined
  const mean = (at: 0 | 1): number => points.reduce((sum, point) => sum + point[at], 0) / n
  const [x0, y0] = [mean(0), mean(1)]
  const sxx = points.reduce((sum, [x]) => sum + (x - x0) ** 2, 0)
  const slope = points.reduce((sum, [x, y]) => sum + (x - x0) * (y - y0), 0) / sxx
  const rest = points.reduce((sum, [x, y]) => sum + (y - y0 - slope * (x - x0)) ** 2, 0)
  return { perHour: slope * 3600, error: Math.sqrt(rest / (n - 2) / sxx) * 3600 }
}

/** The lowest resident size of each minute. */
export function floors(samples: readonly Sample[]): [number, number][] {
  const lowest = new Map<number, [number, number]>()
  for (const { at, resident } of samples) {
    const minute = Math.floor(at / 60)
    const known = lowest.get(minute)
    if (known === undefined || resident < known[1]) lowest.set(minute, [at, resident])
  }
  return [...lowest.values()]
}
