/**
 * Recognizes other protocols. A browser can be made to send a mail session as the body of an HTTP request to any port
 * (cross-protocol scripting). A client that speaks TLS at once would wait for our side of the handshake for as long as we
 * wait for its command. Neither brings mail that anybody meant to send.
 */

/** RFC 9110 section 9, RFC 5789, and the preface of HTTP/2 (RFC 9113 section 3.4). None of them is an SMTP verb. */
const METHOD = /^(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|PRI)(?: |$)/i
/**
 * Header fields, for requests with other methods. Fields that messages have too are left out: after a BDAT that was refused, the
 * text of a message may come here as commands.
 */
const FIELD =
  /^(?:Host|Origin|Referer|Cookie|Connection|Content-Length|Transfer-Encoding|Accept|Accept-Encoding|Authorization|Upgrade|Upgrade-Insecure-Requests|(?:Sec|Proxy)-[A-Z-]+):/i
/** RFC 4253 section 4.2. */
const SSH = 'SSH-'
/** A TLS handshake of any version (RFC 8446 section 5.1). wire-stream.ts does not wait for the end of such a line. */
const TLS = '\x16\x03'

/** @param line a command line, or its beginning, that is not an SMTP command */
export const isOtherProtocol = (line: string): boolean =>
  METHOD.test(line) || FIELD.test(line) || line.startsWith(SSH) || line.startsWith(TLS)
