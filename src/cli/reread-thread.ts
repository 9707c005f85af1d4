/** Reads the settings in a thread of its own (reread.ts). Compiled lists are handed over without a copy. */
import { readFileSync, statSync } from 'node:fs'
import { constants, setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { rereadOf } from '../config/reload.ts'
import type { FixedSources } from './reread.ts'

// Mail must not wait for a core that this thread has. On Linux the priority is that of the calling thread (setpriority(2));
// elsewhere it would be that of the whole process.
try {
  if (process.platform === 'linux') setPriority(constants.priority.PRIORITY_LOW)
} catch {
  // It may not. The reload is more important than how it is done.
}

/** What each file was when it was read. */
const marks = new Map<string, string>()

function markOf(path: string): string {
  const { dev, ino, size, mtimeNs } = statSync(path, { bigint: true })
  return [dev, ino, size, mtimeNs].join()
}

/** A file that is being written must not pass for what it is going to be: an empty deny list would let everybody in. */
function readFile(path: string): string {
  // A pipe would be waited for, and what it had to say was said at the start.
  if (!statSync(path).isFile()) throw new Error('it is not a regular file, and cannot be read again')
  marks.set(path, markOf(path))
  const text = readFileSync(path, 'utf8')
  if (text.trim() !== '') return text
  throw new Error('it is empty: is it being written? If it is meant to be empty, put a line with a # into it')
}

const result = rereadOf({ ...(workerData as FixedSources), readFile })
for (const [path, mark] of marks) {
  if (markOf(path) !== mark) throw new Error(`${path} is being written`)
}
const lists = 'reading' in result ? Object.values(result.reading.lists) : []
const tables = lists.flatMap(({ lows4, highs4, lows6, highs6 }) => [lows4, highs4, lows6, highs6])
parentPort?.postMessage(
  result,
  tables.map(({ buffer }) => buffer),
)
