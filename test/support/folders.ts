/** Folders for temporary files that are gone when a test file is over, also where its tests fail. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const made = new Set<string>()

/** @param name what its name begins with */
export function temporaryFolder(name: string): string {
  const path = mkdtempSync(join(tmpdir(), `${name}-`))
  made.add(path)
  return path
}

/** Removes it earlier. */
export function removeFolder(path: string): void {
  rmSync(path, { recursive: true, force: true })
  made.delete(path)
}

function removeAll(): void {
  for (const path of made) removeFolder(path)
}

// Programs that are no tests (bench, the flood lab) use parts of these too.
const { afterAll } = globalThis as { afterAll?: (end: () => void) => void }
if (afterAll === undefined) process.once('exit', removeAll)
else afterAll(removeAll)
