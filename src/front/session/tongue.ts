/**
 * Lines of other protocols. A browser can be made to send a mail session as the body of an HTTP request to any port
 * (cross-protocol scripting), and a client that speaks TLS at once would wait for our half of the handshake for as long as
 * we wait for its command. Neither will ever bring mail that somebody meant to send.
 */

/** RFC 9110 section 9, RFC 5789, and the preface of HTTP/2 (RFC 9113 section 3.4). None of them is an SMTP verb. */
const METHOD = /^(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|PRI)(?: |$)/i
/**
 * Header fields of a request whose method is none of these. Only those that no message has: the text of a message may come
 * here as commands, behind a BDAT that was refused.
 */
const FIELD =
  /^(?:Host|Origin|Referer|Cookie|Connection|Content-Length|Transfer-Encoding|Accept|Accept-Encoding|Authorization|Upgrade|Upgrade-Insecure-Requests|(?:Sec|Proxy)-[A-Z-]+):/i
/** RFC 4253 section 4.2. */
const SSH = 'SSH-'
/** A TLS record of type handshake, of any version from 3.0 on (RFC 8446 section 5.1): wire-stream.ts does not wait for its line end. */
const TLS = '\x16\x03'

/** @param line the beginning of a command line that is no command of ours */
export const isOtherProtocol = (line: string): boolean =>
  METHOD.test(line) || FIELD.test(line) || line.startsWith(SSH) || line.startsWith(TLS)
