/** `spillway serve` in one process: starts the app. */
import { hostname } from 'node:os'
import { ListenError, type Running, start } from '../app.ts'
import type { Loaded } from '../config/load.ts'
import { readingOf } from '../config/reload.ts'
import { messageOf } from '../core/errors.ts'
import { createLog } from '../telemetry/log.ts'
import { adviceOn } from './listen-advice.ts'
import { type FixedSources, reread } from './reread.ts'
import { untilStopped } from './signals.ts'

/** Resolves with the exit code when the program should end. @param wasHungUp whether SIGHUP has come since the settings began to be read */
export async function runServer(
  loaded: Loaded,
  sources: FixedSources,
  version: string,
  wasHungUp: () => boolean,
): Promise<number> {
  const { settings, origins, warnings } = loaded
  const log = createLog({ level: settings.logLevel, destination: 1 })
  for (const warning of warnings) log.warn({}, warning)
  let running: Running
  try {
    const listenIsDefault = origins.listen === 'default'
    const again = () => reread(sources)
    running = await start({
      reading: readingOf(loaded),
      version,
      log,
      machine: hostname(),
      listenIsDefault,
      reread: again,
    })
  } catch (error) {
    const where = error instanceof ListenError ? { setting: error.setting, advice: adviceOn(error, settings) } : {}
    log.error({ err: messageOf(error), ...where }, 'cannot start')
    log.flush()
    return 1
  }
  return untilStopped(running, log, wasHungUp)
}
