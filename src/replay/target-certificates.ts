import { type ConnectionOptions, createSecureContext, getCACertificates, type TLSSocket } from 'node:tls';

/** How the certificate of a TLS target is judged. */
export interface CertificateRules {
  /** Trusted besides the system's, PEM. */
  readonly caPem: string | null;
  readonly acceptAnyCertificate: boolean;
}

/** What TLS is begun with. To be made once for all connections: reading the system's certificates takes 20 ms. */
export function trustOf({
  caPem,
  acceptAnyCertificate,
}: CertificateRules): Pick<ConnectionOptions, 'rejectUnauthorized' | 'secureContext'> {
  const rejectUnauthorized = !acceptAnyCertificate;
  if (caPem === null) return { rejectUnauthorized };
  // A list of one's own takes the place of the system's, so that it has to hold those as well.
  const ca = [...getCACertificates('default'), caPem];
  return { rejectUnauthorized, secureContext: createSecureContext({ ca }) };
}

/** What makes a certificate wrong whoever is trusted, and the way out of it. */
const WRONG_FOR_ALL: Readonly<Record<string, string>> = {
  ERR_TLS_CERT_ALTNAME_INVALID: 'Give the target by a name that stands in its certificate',
  CERT_HAS_EXPIRED: 'Give the target a certificate that has not expired',
  CERT_NOT_YET_VALID: "Set this machine's clock, or wait until it is valid",
};

/** The way out where a connection ended because its certificate was not accepted; null where it did not. */
export function certificateRefusal({ authorizationError }: TLSSocket): string | null {
  // Node declares an Error here, and puts its code.
  const code: unknown = authorizationError;
  if (code === null || code === undefined) return null;
  const way =
    WRONG_FOR_ALL[String(code)] ?? 'Trust its certificate, or the one that signed it: --ca FILE (PEM)';
  return `${way}; or accept any certificate: --insecure.`;
}
