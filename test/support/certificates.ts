/** Certificates made on the spot, with openssl: for any names, of any issuer, valid at any time. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Certificate {
  /** PEM. */
  readonly cert: string
  /** PEM. */
  readonly key: string
}

export interface CertificateOptions {
  /** As in a subjectAltName: `DNS:mx.test.example`, `IP:192.0.2.1`. */
  readonly names?: readonly string[]
  /** Its subject; by this, too, certificates can be told apart. */
  readonly subject?: string
  /** Milliseconds since the epoch. */
  readonly from?: number
  readonly until?: number
  /** Signs it; without one it is signed by itself. */
  readonly issuer?: Certificate
  /** Its extendedKeyUsage, such as `clientAuth`; without one it is for every use. */
  readonly usage?: string
  /** Use this key instead of a new one. */
  readonly key?: string
}

export const DAY_MS = 86_400_000

/** As `openssl ca` wants it: 20261231235959Z. */
const time = (ms: number): string => `${new Date(ms).toISOString().replace(/[-:T]|\.\d+Z$/g, '')}Z`

export function makeCertificate(options: CertificateOptions = {}): Certificate {
  const {
    names = [],
    subject = 'spillway test',
    from = Date.now() - DAY_MS,
    until = Date.now() + 365 * DAY_MS,
  } = options
  const folder = mkdtempSync(join(tmpdir(), 'spillway-certificate-'))
  const at = (name: string): string => join(folder, name)
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
  try {
    writeFileSync(
      at('conf'),
      [
        '[ca]\ndefault_ca = made',
        `[made]\ndatabase = ${at('index')}\nnew_certs_dir = ${folder}\nrand_serial = yes\ndefault_md = sha256`,
        'policy = any\nx509_extensions = own\n[any]\ncommonName = supplied',
        `[own]\nbasicConstraints = CA:${options.issuer === undefined ? 'TRUE' : 'FALSE'}`,
        options.usage === undefined ? '' : `extendedKeyUsage = ${options.usage}`,
        names.length === 0 ? '' : `subjectAltName = ${names.join(',')}`,
      ].join('\n'),
    )
    writeFileSync(at('index'), '')
    if (options.key !== undefined) writeFileSync(at('key'), options.key)
    else openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', 'key')
    openssl('req', '-new', '-key', 'key', '-subj', `/CN=${subject}`, '-out', 'request')
    if (options.issuer !== undefined) {
      writeFileSync(at('ca'), options.issuer.cert)
      writeFileSync(at('ca-key'), options.issuer.key)
    }
    const signer =
      options.issuer === undefined ? ['-selfsign', '-keyfile', 'key'] : ['-cert', 'ca', '-keyfile', 'ca-key']
    const dates = ['-startdate', time(from), '-enddate', time(until)]
    openssl('ca', '-batch', '-notext', '-config', 'conf', ...signer, '-in', 'request', ...dates, '-out', 'cert')
    return { cert: readFileSync(at('cert'), 'utf8'), key: readFileSync(at('key'), 'utf8') }
  } finally {
    rmSync(folder, { recursive: true })
  }
}
