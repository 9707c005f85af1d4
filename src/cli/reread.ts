/**
 * Reads the settings again while mail goes on. 100,000 networks take about a second, and as long would every client
 * wait, so they are read in a thread of its own.
 */
import { Worker } from 'node:worker_threads'
import type { Sources } from '../config/load.ts'
import type { Reread } from '../config/reload.ts'

/** What stays the same for as long as the program runs. */
export type FixedSources = Omit<Sources, 'readFile' | 'now'>

/** A file on a mount that hangs would be waited for without end, and every later reload behind it. */
const LONGEST_MS = 60_000

/** Rejects if the thread cannot be started, runs out of memory, or takes longer than a minute. */
export const reread = (sources: FixedSources): Promise<Reread> =>
  new Promise((resolve, reject) => {
    const file = import.meta.url.endsWith('.ts') ? './reread-thread.ts' : './reread-thread.js'
    const thread = new Worker(new URL(file, import.meta.url), { workerData: sources })
    const late = setTimeout(() => {
      void thread.terminate()
      reject(new Error(`not read within ${LONGEST_MS / 1000} s: is a file on a mount that hangs?`))
    }, LONGEST_MS)
    thread.once('exit', () => clearTimeout(late))
    thread.once('message', resolve)
    thread.once('error', reject)
    // After its message this changes nothing any more.
    thread.once('exit', () => reject(new Error('the thread that read the settings ended without a result')))
  })
