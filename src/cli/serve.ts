/** `spillway serve` in one process: starts the app. */
import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { type AppOptions, ListenError, type Running, start } from '../app.ts'
import { readingWith } from '../config/reload.ts'
import { messageOf } from '../core/errors.ts'
import { NODES, nodeName, successorNumber } from '../core/id.ts'
import { createLog, type LevelledLog } from '../telemetry/log.ts'
import { listenFailure } from './listen-advice.ts'
import { privately } from './privately.ts'
import { reread } from './reread.ts'
import { type Serving, untilStopped } from './signals.ts'
import { unusedFor } from './sockets.ts'
import { takeOver } from './take-over.ts'

function optionsOf({ loaded, sources, version, takesOver, sockets }: Serving, log: LevelledLog): AppOptions {
  const machine = hostname()
  const number = successorNumber(nodeName(machine, loaded.settings.listen), randomInt(NODES))
  return {
    ...{ reading: readingWith(loaded, (path) => readFileSync(path, 'utf8')), version, log, machine },
    listenIsDefault: loaded.origins.listen === 'default',
    reread: () => reread(sources),
    privately,
    // Elsewhere the kernel does not spread connections, or has no such option.
    sharesPorts: process.platform === 'linux',
    ...(sockets !== undefined && { sockets }),
    // Not the number of its predecessor, which has the same name.
    ...(takesOver && { number, takeOver: () => takeOver(loaded.settings, log) }),
  }
}

/** Resolves with the exit code when the program should end. */
export async function runServer(serving: Serving): Promise<number> {
  const { settings, warnings } = serving.loaded
  const log = createLog({ level: settings.logLevel, format: settings.logFormat, destination: 1 })
  const unused = serving.sockets === undefined ? [] : unusedFor(serving.sockets, serving.loaded)
  for (const warning of [...warnings, ...unused]) log.warn({}, warning)
  let running: Running
  try {
    running = await start(optionsOf(serving, log))
  } catch (error) {
    const where = error instanceof ListenError ? await listenFailure(error, settings) : {}
    log.error({ err: messageOf(error), ...where }, 'cannot start')
    log.flush()
    return 1
  }
  return untilStopped(running, log, serving.early)
}
