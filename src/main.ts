#!/usr/bin/env -S node --max-semi-space-size=8 --
/**
 * The program: argv, environment, exit codes. The codes are 0 for success, 1 if it could not run, 64 for a wrong
 * command line, and 78 for wrong settings (sysexits.h).
 *
 * The flag in the first line is set wherever the program is started. Without it V8 lets its young generation grow to 3
 * x 16 MB and more in a flood, and gains nothing by it. With it a node stays small in a flood of a million addresses
 * (docs/benchmarks.md).
 */
import { readFileSync } from 'node:fs'
import { availableParallelism, hostname } from 'node:os'
import { setTimeout } from 'node:timers/promises'
import type { OptionsOf } from './cli/args.ts'
import { EarlySignals } from './cli/early-signals.ts'
import type { FixedSources } from './cli/reread.ts'

// This comes before anything else. By default SIGUSR1 makes Node open its inspector, through which any local user can
// run code in this process, and SIGUSR2 ends the program without draining. Log rotation and process managers send both.
for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => undefined)

/** Longer than V8 takes to compile one function. */
const COMPILING_MS = 50

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 22 || (major === 22 && minor < 12)) {
  console.error(
    `spillway needs Node 22.12 or newer; this is ${process.version}. Install Node 24, or run it by npm: npx spillway …`,
  )
  process.exit(1)
}

// The first process of a container never sees a signal that it has no handler for yet: it would go on until it is killed.
const early = new EarlySignals()

/**
 * V8 may be compiling in the background and ask this thread for memory while this thread waits for it to end. Without the pause Node 24
 * hangs in this way at one exit in three of a program that has just started (nodejs/node#54918).
 */
async function exit(code: number): Promise<never> {
  await setTimeout(COMPILING_MS)
  process.exit(code)
}

// A health check runs every few seconds. Nearly always it needs nothing of what comes below.
if (process.argv[2] === 'healthcheck' && process.argv[3] === '--mail') {
  early.giveBack()
  const { probed } = await import('./cli/mail-probe.ts')
  const told = await probed(process.argv.slice(4), process.env)
  if (told !== undefined) {
    console.log(told.output)
    await exit(told.code)
  }
}

// These are loaded only now: an older Node would stop at their syntax before it could say what is wrong.
const { parse } = await import('./cli/args.ts')
const { asksNode, runNodeVerb } = await import('./cli/node-verbs.ts')
const { load } = await import('./config/load.ts')
const { SettingsError } = await import('./config/mistakes.ts')
const { workersOf } = await import('./config/workers.ts')
const { inheritedSockets, SocketsError } = await import('./cli/sockets.ts')
const { lacksForNft } = await import('./cli/nft-advice.ts')
const { openFiles } = await import('./cli/open-files.ts')

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

/** What a function returns, or the mistake of the operator that it throws. */
function orMistake<T, E extends Error>(mistake: abstract new (...args: never[]) => E, read: () => T): T | E {
  try {
    return read()
  } catch (error) {
    if (error instanceof mistake) return error
    throw error
  }
}

const loaded = (sources: FixedSources): ReturnType<typeof load> | InstanceType<typeof SettingsError> =>
  orMistake(SettingsError, () => load({ ...sources, readFile: (path) => readFileSync(path, 'utf8') }))

const sourcesOf = (envFile: string | undefined): FixedSources => {
  return {
    env: { ...process.env },
    hostname: hostname(),
    openFiles: openFiles(),
    cores: availableParallelism(),
    lacksForNft: lacksForNft(process.env.PATH),
    envFile,
  }
}

/** Prints what a verb has to say; what went wrong to stderr, unless `always`. */
function shown({ output, code }: { readonly output: string; readonly code: number }, always: boolean): number {
  if (code === 0 || always) console.log(output.trimEnd())
  else console.error(output.trimEnd())
  return code
}

async function serve(options: OptionsOf<'serve'>): Promise<number> {
  const sources = sourcesOf(options.envFile)
  const settings = loaded(sources)
  if (settings instanceof SettingsError) {
    console.error(settings.message)
    return 78
  }
  const sockets = orMistake(SocketsError, () => inheritedSockets(process.env, process.pid))
  if (sockets instanceof SocketsError) {
    console.error(`the sockets that the service manager has passed cannot be used: ${sockets.message}`)
    return 78
  }
  const serving = {
    ...{ loaded: settings, sources, version, early },
    takesOver: options.takeOver,
    sockets,
  }
  const workers = workersOf(settings.settings, availableParallelism())
  if (workers > 1) {
    const { runParent } = await import('./cli/workers/parent.ts')
    return runParent(serving, workers)
  }
  const { runServer } = await import('./cli/serve.ts')
  return runServer(serving)
}

async function main(): Promise<number> {
  const asked = parse(process.argv.slice(2))
  if (!('verb' in asked) || asked.verb !== 'serve') early.giveBack()
  if ('help' in asked || 'version' in asked) {
    console.log('help' in asked ? asked.help : version)
    return 0
  }
  if ('error' in asked) {
    console.error(asked.error)
    return 64
  }
  if (asksNode(asked)) {
    const told = await runNodeVerb(asked, loaded(sourcesOf(asked.options.envFile)))
    return shown(told, told.always)
  }
  switch (asked.verb) {
    case 'demo': {
      const { runDemo } = await import('./cli/demo/demo.ts')
      return runDemo(version, asked.options)
    }
    case 'check': {
      const { check } = await import('./cli/check.ts')
      const settings = loaded(sourcesOf(asked.options.envFile))
      console.log(check(settings, asked.options))
      return settings instanceof SettingsError ? 78 : 0
    }
    case 'doctor': {
      const { doctor } = await import('./cli/doctor/doctor.ts')
      return shown(await doctor(loaded(sourcesOf(asked.options.envFile)), asked.options), true)
    }
    case 'reload': {
      const { reload } = await import('./cli/reload.ts')
      return shown(await reload(loaded(sourcesOf(asked.options.envFile)), asked.options), true)
    }
    case 'hash': {
      const { hash } = await import('./cli/hash.ts')
      const { positionals, options } = asked
      return shown(hash(loaded(sourcesOf(options.envFile)), positionals[0] as string, options), options.json)
    }
    case 'learn': {
      const { learn } = await import('./cli/learn/learn.ts')
      const { options, positionals } = asked
      const cores = availableParallelism()
      const from = positionals[0] ?? '-'
      return shown(await learn(loaded(sourcesOf(options.envFile)), from, { ...options, cores }), false)
    }
    case 'simulate': {
      const { simulate } = await import('./cli/simulate/simulate.ts')
      return shown(await simulate(sourcesOf(undefined), asked.positionals, asked.options), asked.options.json)
    }
    case 'serve':
      return serve(asked.options)
  }
}

await exit(await main())
