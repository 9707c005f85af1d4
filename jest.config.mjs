import { availableParallelism } from 'node:os'

export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: { target: 'es2023', parser: { syntax: 'typescript' } },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },
  testTimeout: 40_000,
  // Jest leaves one core idle unless told. Most tests wait for others (mail servers, Redis, timers) more than they compute.
  maxWorkers: 2 * availableParallelism(),
  coverageProvider: 'v8',
  // Modules of test files that are done stay in memory, and tests that look at ours would sweep them up too.
  // The fewer there are, the less the garbage collector has to go through: with 500 MB it took a tenth of the time of the front's tests.
  workerIdleMemoryLimit: '250MB',
  // A test that fails may leave something open, and a run that nobody watches must come to its end all the same.
  forceExit: process.env.CI !== undefined,
  globalSetup: '<rootDir>/test/run-folder.ts',
  globalTeardown: '<rootDir>/test/run-folder.ts',
  testSequencer: '<rootDir>/test/longest-first.ts',
  reporters: ['default', '<rootDir>/test/wire/conformance-reporter.ts'],
}
