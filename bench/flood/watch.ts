// What a node says of itself during a run, once a second.

export interface LevelPoint {
  readonly s: number
  readonly level: number
  readonly pressure: number
  readonly signal: string
  /** The mail server that takes longest at the dot. */
  readonly slowest?: string
  /** Whether it believes nobody who calls a recipient unknown. */
  readonly isGuarding?: boolean
}

interface Status {
  readonly unknownGuard?: boolean
  readonly overload?: {
    readonly level: number
    readonly pressure: number
    readonly signal: string
    readonly slowest?: { readonly upstream: string }
  }
}

export interface Watch {
  readonly points: readonly LevelPoint[]
  stop(): void
}

/** @param admin the port of a node; undefined where there is none, and nothing to watch */
export function watchLevel(admin: number | undefined): Watch {
  const points: LevelPoint[] = []
  const began = performance.now()
  const look = async (): Promise<void> => {
    const s = Math.round((performance.now() - began) / 1000)
    // A node that does not answer is missing at that second.
    const answer = await fetch(`http://127.0.0.1:${admin}/api/v1/status`).catch(() => undefined)
    const { overload, unknownGuard } = ((await answer?.json()) ?? {}) as Status
    if (overload === undefined) return
    const { level, pressure, signal, slowest } = overload
    points.push({
      ...{ s, level, pressure, signal },
      ...(slowest !== undefined && { slowest: slowest.upstream }),
      ...(unknownGuard && { isGuarding: true }),
    })
  }
  const timer = admin === undefined ? undefined : setInterval(() => void look().catch(() => undefined), 1000)
  return { points, stop: () => clearInterval(timer) }
}
