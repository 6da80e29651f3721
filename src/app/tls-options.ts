import { bothOrNeither, fileName, part, partsOf, requiredPart, value } from '../core/options.ts';
import type { ListenerTls, UpstreamTls } from '../proxy/data-plane.ts';
import { TARGET_TLS_PARTS } from '../replay/options/parsers.ts';

export const LISTEN_TLS_OPTION = {
  listenTls: value(
    '--listen-tls <parts>',
    'serve TLS on --listen: cert=FILE (certificate chain, PEM), key=FILE (its private key), client-ca=FILE ' +
      '(require client certificates that it signed)',
    partsOf({ cert: requiredPart(fileName), key: requiredPart(fileName), clientCa: part(fileName) }),
  ),
};

/** TLS towards a target whose address is spelt `https://`. */
export const TARGET_TLS_OPTION = {
  targetTls: value(
    '--target-tls <parts>',
    'TLS to an https target: ca=FILE (certificates to verify it with, PEM), cert=FILE,key=FILE (client certificate ' +
      'to show), server-name=NAME (sent as SNI and verified), insecure (accept any certificate)',
    bothOrNeither('cert', 'key', partsOf({ ...TARGET_TLS_PARTS, serverName: part((name) => name) })),
  ),
};

export function listenerTls(
  stated: { readonly cert: string; readonly key: string; readonly clientCa: string | null } | null,
): ListenerTls | null {
  return stated && { certPath: stated.cert, keyPath: stated.key, clientCaPath: stated.clientCa };
}

export function upstreamTls(
  stated: {
    readonly ca: string | null;
    readonly cert: string | null;
    readonly key: string | null;
    readonly serverName: string | null;
    readonly insecure: boolean;
  } | null,
): UpstreamTls | null {
  if (stated === null) return null;
  const { ca: caPath, cert, key, serverName, insecure } = stated;
  const client = cert === null || key === null ? null : { certPath: cert, keyPath: key };
  return { caPath, serverName, verify: !insecure, client };
}
