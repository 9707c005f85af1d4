// Restarts the program again and again under load, and counts what became of every client. It runs by itself, because it
// may need a network namespace of its own:
//
//     node test/cli/restarts.ts sockets|takeover RESTARTS [WORKERS]
//
// It prints one line of JSON: how many clients were greeted and heard the reply to QUIT, heard 421 because one of them was
// stopping, were refused, were reset, or heard something else; and the exit codes of all that were replaced.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { PROCESS_ENV, Program, programLine, SERVE_ENV, TOKEN_ENV } from '../support/program.ts'

const PER_SECOND = 200
/** Between two restarts, so that the new one has met clients. */
const BETWEEN_MS = 300

const counts = { served: 0, putOff: 0, refused: 0, reset: 0, other: 0 }
const others: string[] = []

function visit(port: number, source: string): Promise<void> {
  return new Promise((resolve) => {
    let text = ''
    const socket = connect({ host: '127.0.0.1', port, localAddress: source })
    const end = (what: keyof typeof counts): void => {
      counts[what]++
      socket.destroy()
      resolve()
    }
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      if (/^220 [^\n]*\n$/.test(text)) socket.write('QUIT\r\n')
    })
    socket.on('end', () => {
      if (/^220 .*\r\n221 .*\r\n$/.test(text)) return end('served')
      if (/^(220 .*\r\n)?421 .*\r\n$/.test(text)) return end('putOff')
      others.push(text)
      end('other')
    })
    socket.on('error', ({ code }: NodeJS.ErrnoException) => end(code === 'ECONNREFUSED' ? 'refused' : 'reset'))
  })
}

/** Clients at an even rate, until it is stopped; resolves when the last of them has gone. */
function load(port: number): { stop(): Promise<unknown> } {
  const visits: Promise<void>[] = []
  const begun = performance.now()
  const timer = setInterval(() => {
    const due = ((performance.now() - begun) * PER_SECOND) / 1000
    while (visits.length < due) {
      const i = visits.length
      visits.push(visit(port, `127.1.${(i >> 8) & 255}.${i & 255}`))
    }
  }, 5)
  return {
    stop() {
      clearInterval(timer)
      return Promise.all(visits)
    },
  }
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function bySockets(restarts: number, env: Record<string, string>): Promise<(number | null)[]> {
  const holder = fileURLToPath(new URL('hold-socket.pl', import.meta.url))
  const child = spawn('perl', [holder, ...programLine(['serve'])], {
    env: { ...PROCESS_ENV, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout })
  const seen: string[] = []
  lines.on('line', (line) => seen.push(line))
  const line = async (what: RegExp, from: number): Promise<RegExpExecArray> => {
    for (;;) {
      for (const each of seen.slice(from)) {
        const found = what.exec(each)
        if (found !== null) return found
      }
      await once(lines, 'line')
    }
  }
  const port = Number((await line(/^port (\d+)$/, 0))[1])
  const start = async (): Promise<number> => {
    const from = seen.length
    child.stdin.write('\n')
    const pid = Number((await line(/^started (\d+)$/, from))[1])
    await line(/"msg":"(listening for mail|all workers serve)"/, from)
    return pid
  }
  const stop = async (pid: number): Promise<number> => {
    process.kill(pid, 'SIGTERM')
    return Number((await line(new RegExp(`^ended ${pid} (\\d+)$`), 0))[1])
  }
  let pid = await start()
  const codes: number[] = []
  const clients = load(port)
  for (let i = 0; i < restarts; i++) {
    await sleep(BETWEEN_MS)
    codes.push(await stop(pid))
    pid = await start()
  }
  await sleep(BETWEEN_MS)
  await clients.stop()
  await stop(pid)
  child.stdin.end()
  return codes
}

async function byTakingOver(restarts: number, env: Record<string, string>): Promise<(number | null)[]> {
  const run = async (...options: string[]): Promise<Program> => {
    const program = new Program(['serve', ...options], { env })
    // The last that it says when it serves.
    await program.logged(env.SPILLWAY_WORKERS === '1' ? 'listening for the operator' : 'all workers serve')
    if (options.length === 0) await program.logged(/^(listening for mail|all workers serve)$/)
    return program
  }
  let program = await run()
  const codes: (number | null)[] = []
  const clients = load(Number(env.SPILLWAY_LISTEN?.split(':')[1]))
  for (let i = 0; i < restarts; i++) {
    await sleep(BETWEEN_MS)
    const next = await run('--take-over')
    codes.push(await program.exited)
    program = next
  }
  await sleep(BETWEEN_MS)
  await clients.stop()
  program.child.kill('SIGTERM')
  await program.exited
  return codes
}

const [mode, restarts, workers = '1'] = process.argv.slice(2)
// Below those that the system gives away.
const free = 12_000 + 2 * (process.pid % 10_000)
const codes = await (mode === 'sockets' ? bySockets : byTakingOver)(Number(restarts), {
  ...SERVE_ENV,
  ...TOKEN_ENV,
  SPILLWAY_WORKERS: workers,
  SPILLWAY_LOG_LEVEL: 'info',
  ...(mode !== 'sockets' && {
    SPILLWAY_LISTEN: `127.0.0.1:${free}`,
    SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${free + 1}`,
  }),
})
console.log(JSON.stringify({ ...counts, codes, others: others.slice(0, 5) }))
process.exitCode = counts.refused + counts.reset + counts.other + codes.filter((code) => code !== 0).length > 0 ? 1 : 0
