/** `spillway serve`: starts the app and obeys signals. */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { type Running, start } from '../app.ts'
import type { Loaded } from '../config/load.ts'
import type { Settings } from '../config/settings.ts'
import { createLog } from '../telemetry/log.ts'

/** Two interrupts within this time are one stroke of a key. */
const SAME_KEY_MS = 400

const pem = (path: string): string => readFileSync(path, 'utf8')

/** What to do about an address that cannot be listened on. */
function adviceOn(error: unknown, settings: Settings): { setting?: string; advice?: string } {
  const { code, port, syscall } = error as NodeJS.ErrnoException & { port?: number }
  if (syscall !== 'listen' && syscall !== 'getaddrinfo') return {}
  const setting = port === settings.adminListen.port ? 'SPILLWAY_ADMIN_LISTEN' : 'SPILLWAY_LISTEN'
  const advice = {
    EADDRINUSE: 'somebody listens there already (ss -ltnp tells who); stop that, or choose another port',
    EACCES: 'ports below 1024 need the right to bind them: docs/deploy.md tells the ways, or choose another port',
    EADDRNOTAVAIL: 'this machine has no such address; 0.0.0.0 and [::] are all it has',
    ENOTFOUND: 'the name does not resolve; write an address',
  }[code ?? '']
  return { setting, ...(advice !== undefined && { advice }) }
}

/** Resolves with the exit code when the program is to end. */
export async function runServer({ settings, warnings }: Loaded, version: string): Promise<number> {
  const log = createLog({ level: settings.logLevel, destination: 1 })
  for (const warning of warnings) log.warn({}, warning)
  const { tlsCert, tlsKey } = settings
  const tls = tlsCert === undefined || tlsKey === undefined ? undefined : { cert: pem(tlsCert), key: pem(tlsKey) }
  let running: Running
  try {
    running = await start({ settings, version, log, machine: hostname(), tls })
  } catch (error) {
    log.error({ err: (error as Error).message, ...adviceOn(error, settings) }, 'cannot start')
    log.flush()
    return 1
  }
  return new Promise((resolve) => {
    let stoppingSince: number | undefined
    const end = (signal: NodeJS.Signals): void => {
      if (stoppingSince !== undefined) {
        // npm hands Ctrl-C on to a program that the terminal has told already.
        if (signal === 'SIGINT' && performance.now() - stoppingSince < SAME_KEY_MS) return
        log.warn({ signal }, 'second signal: ending now')
        void running.abort().finally(() => resolve(1))
        return
      }
      stoppingSince = performance.now()
      log.info({ signal }, 'stopping')
      running.stop().then(
        () => resolve(0),
        (error: unknown) => {
          log.error({ err: String(error) }, 'stopping failed')
          log.flush()
          resolve(1)
        },
      )
    }
    process.on('SIGTERM', end)
    process.on('SIGINT', end)
    // The default would end the program; settings are read at the start only.
    process.on('SIGHUP', () => log.warn({}, 'SIGHUP: settings are read at the start only; restart to change them'))
    // main.ts has taken their defaults away already.
    for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) {
      process.on(signal, () =>
        log.warn({}, `${signal} does nothing; SIGTERM stops Spillway, and its log needs no signal`),
      )
    }
  })
}
