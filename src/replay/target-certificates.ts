import { type ConnectionOptions, createSecureContext, getCACertificates } from 'node:tls';

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
