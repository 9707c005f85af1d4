/**
 * Jest's global setup and teardown: a run has a folder of its own for temporary files, and what tests leave in it fails the run.
 * Otherwise a machine that runs them every day fills up, and a test may find what another one has left.
 */
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const PATIENCE_MS = 3000

const isBegun = (): boolean => process.env.TEST_RUN_FOLDER !== undefined

/** The folders of runs that were killed. */
function sweep(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = /^spillway-run-(\d+)-/.exec(name)?.[1]
    if (pid !== undefined && !isAlive(Number(pid))) rmSync(join(tmpdir(), name), { recursive: true, force: true })
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

function begin(): void {
  sweep()
  const folder = mkdtempSync(join(tmpdir(), `spillway-run-${process.pid}-`))
  // Mail servers of tests have users of their own.
  chmodSync(folder, 0o1777)
  process.env.TEST_RUN_FOLDER = folder
  process.env.TMPDIR = folder
  // npm and others keep what Node compiled, by default in the folder for temporary files. So do Jest's own processes now.
  process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, '../.cache/compiled')
}

async function end(): Promise<void> {
  const folder = process.env.TEST_RUN_FOLDER as string
  // What guards servers (services/processes.ts) removes those of a process of tests after its end.
  for (const until = performance.now() + PATIENCE_MS; readdirSync(folder).length > 0 && performance.now() < until; )
    await sleep(100)
  const left = readdirSync(folder)
  rmSync(folder, { recursive: true, force: true })
  if (left.length > 0)
    throw new Error(`tests have left files behind: ${left.join(', ')} (in a folder for temporary files)`)
}

/** Both are one file: jest calls it when a run begins, and again when it ends. */
export default (): Promise<void> | void => (isBegun() ? end() : begin())
