/** Starts Chromium, for what only a browser can show. */
import { type Browser, chromium } from 'playwright-core'
import { command } from './packages.ts'

export function startChromium(): Promise<Browser> {
  const { path, env } = command('chromium')
  return chromium.launch({
    executablePath: path,
    // The sandbox does not start as root, and the pages are ours.
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
    env: { ...process.env, ...env } as Record<string, string>,
  })
}
