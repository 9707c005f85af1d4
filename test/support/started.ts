/** Mail servers and apps of one test: whatever it starts is stopped when it is over, the last first. */
import { afterEach } from '@jest/globals'
import { startApp, type TestApp } from './app.ts'
import { startUpstream, type Upstream, type UpstreamOptions } from './upstream.ts'

export interface Started {
  readonly upstream: (options?: UpstreamOptions) => Promise<Upstream>
  /** @param upstreams `host:port,…` */
  readonly app: (upstreams: string, settings?: Record<string, string>) => Promise<TestApp>
  /** Also to be called then. */
  readonly atEnd: (...stops: readonly (() => unknown)[]) => void
}

/** To be called where a test file begins. */
export function stoppedAfterEach(): Started {
  const stops: (() => unknown)[] = []
  afterEach(async () => {
    for (const stop of stops.splice(0).reverse()) await stop()
  })
  return {
    async upstream(options = {}) {
      const server = await startUpstream(options)
      stops.push(() => server.stop())
      return server
    },
    async app(upstreams, settings) {
      const started = await startApp(upstreams, settings)
      stops.push(() => started.stop())
      return started
    },
    atEnd: (...more) => void stops.push(...more),
  }
}
