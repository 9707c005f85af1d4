/** What signals do to a running node: SIGTERM and SIGINT stop it, SIGHUP reloads its settings. */
import type { Loaded } from '../config/load.ts'
import type { Log } from '../telemetry/log.ts'
import { type EarlySignals, SAME_PRESS_MS } from './early-signals.ts'
import type { FixedSources } from './reread.ts'
import type { Inherited } from './sockets.ts'
import { Systemd } from './systemd.ts'

/** What the program was started with. */
export interface Serving {
  readonly loaded: Loaded
  readonly sources: FixedSources
  readonly version: string
  readonly early: EarlySignals
  /** Whether it takes the place of another one. */
  readonly takesOver: boolean
  readonly sockets: Inherited | undefined
}

export interface Stoppable {
  /** Resolves when all is over. After a handover sessions may take their time, until a signal comes. */
  stop(after: 'signal' | 'handover'): Promise<unknown>
  /** Ends the node now. */
  abort(): Promise<void>
  readonly reload: ((by: string) => Promise<unknown>) | undefined
  /** Resolves when another one takes this one's place. */
  readonly handedOver: Promise<void>
}

/** Resolves with the exit code when the program should end. */
export function untilStopped(running: Stoppable, log: Log, early: EarlySignals): Promise<number> {
  const systemd = new Systemd(process.env, log)
  void systemd.ready()
  return new Promise((resolve) => {
    let stoppingSince: number | undefined
    let isUnhurried = false
    const end = (signal: NodeJS.Signals | 'handover'): void => {
      if (isUnhurried && signal !== 'handover') {
        isUnhurried = false
        stoppingSince = performance.now()
        log.info({ signal }, 'stopping')
        void running.stop('signal')
        return
      }
      if (stoppingSince !== undefined) {
        // It is being stopped already, and what is past its dot still has its time.
        if (signal === 'handover') return
        if (signal === 'SIGINT' && performance.now() - stoppingSince < SAME_PRESS_MS) return
        log.warn({ signal }, 'second signal: ending now')
        void running.abort().finally(() => resolve(1))
        return
      }
      stoppingSince = performance.now()
      isUnhurried = signal === 'handover'
      log.info(signal === 'handover' ? { by: signal } : { signal }, 'stopping')
      Promise.all([running.stop(signal === 'handover' ? 'handover' : 'signal'), systemd.stopping()]).then(
        () => resolve(0),
        (error: unknown) => {
          log.error({ err: String(error) }, 'stopping failed')
          log.flush()
          resolve(1)
        },
      )
    }
    void running.handedOver.then(() => end('handover'))
    const reload = (): void => {
      if (stoppingSince !== undefined) return
      log.info({}, 'SIGHUP: settings and certificates are read again')
      void systemd.during(async () => running.reload?.('SIGHUP'))
    }
    early.pass((signal) => (signal === 'SIGHUP' ? reload() : end(signal)))
    // main.ts has already replaced their default actions.
    for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) {
      process.on(signal, () =>
        log.warn({}, `${signal} does nothing; SIGTERM stops Spillway, and its log needs no signal`),
      )
    }
  })
}
