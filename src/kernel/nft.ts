/** Runs nft(8) as a child process. */
import { spawn } from 'node:child_process'
import { messageOf } from '../core/errors.ts'

export interface Nft {
  /** Does all commands or none of them. Rejects with an Error that says why, and what to do. */
  run(script: string): Promise<void>
  /** What is there of a table, in JSON, without the elements of its sets. Rejects as run does. */
  list(table: string): Promise<string>
}

/** A kernel that is busy for longer is not waited for. */
const LONGEST_MS = 20_000
const MOST_OUTPUT = 1 << 20
/** On the PATH, or where distributions have it and the PATH of plain users does not lead. */
export const PROGRAMS = ['nft', '/usr/sbin/nft', '/sbin/nft', '/usr/local/sbin/nft'] as const

const isAbsent = (error: NodeJS.ErrnoException | undefined): boolean => error?.code === 'ENOENT'

function why(error: NodeJS.ErrnoException | undefined, said: string): Error {
  if (isAbsent(error)) return new Error('there is no program nft here: install the package nftables')
  if (error !== undefined) return new Error(`nft cannot be run: ${messageOf(error)}`)
  const line = said.split('\n').find((each) => each.trim() !== '') ?? 'nft has failed, and says nothing'
  const isForbidden = /not permitted|must be root/i.test(said)
  return new Error(isForbidden ? `${line.trim()}: it takes CAP_NET_ADMIN` : line.trim())
}

function nft([program, ...others]: readonly string[], args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program as string, args)
    // The one of `spawn` goes on where there is no such program.
    const timer = setTimeout(() => child.kill('SIGKILL'), LONGEST_MS)
    let out = ''
    let said = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (out.length < MOST_OUTPUT) out += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (said.length < 2000) said += text
    })
    child.on('error', (error) => {
      clearTimeout(timer)
      if (isAbsent(error) && others.length > 0) resolve(nft(others, args, input))
      else reject(why(error, said))
    })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      if (code === 0) resolve(out)
      else if (signal === null) reject(why(undefined, said))
      else reject(new Error(`nft was killed (${signal}); it may take ${LONGEST_MS / 1000} s`))
    })
    // One that ends before it has read everything says why itself.
    child.stdin.on('error', () => undefined).end(input)
  })
}

/** @param programs where it may be; the first that is there is run */
export const createNft = (programs: readonly string[] = PROGRAMS): Nft => ({
  run: async (script) => {
    await nft(programs, ['-f', '-'], script)
  },
  list: (table) => nft(programs, ['--json', '--terse', 'list', 'table', 'inet', table]),
})

/** Has the kernel look at commands, and does none of them. Rejects as Nft does. */
export async function checkNft(script: string, programs: readonly string[] = PROGRAMS): Promise<void> {
  await nft(programs, ['--check', '-f', '-'], script)
}
