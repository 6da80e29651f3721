import { fileName, part, partSwitch, partsOf, requiredPart, value } from '../core/options.ts';
import type { ListenerTls, UpstreamTls } from '../proxy/data-plane.ts';

export const LISTEN_TLS_OPTION = {
  listenTls: value(
    '--listen-tls <parts>',
    'serve TLS on --listen: cert=FILE (certificate chain, PEM), key=FILE (its private key)',
    partsOf({ cert: requiredPart(fileName), key: requiredPart(fileName) }),
  ),
};

/** TLS towards a target whose address is spelt `https://`. */
export const TARGET_TLS_OPTION = {
  targetTls: value(
    '--target-tls <parts>',
    'TLS to an https target: ca=FILE (certificates to verify it with, PEM), server-name=NAME (sent as SNI and ' +
      'verified), insecure (accept any certificate)',
    partsOf({ ca: part(fileName), serverName: part((name) => name), insecure: partSwitch() }),
  ),
};

export function listenerTls(
  stated: { readonly cert: string; readonly key: string } | null,
): ListenerTls | null {
  return stated === null ? null : { certPath: stated.cert, keyPath: stated.key };
}

export function upstreamTls(
  stated: {
    readonly ca: string | null;
    readonly serverName: string | null;
    readonly insecure: boolean;
  } | null,
): UpstreamTls | null {
  if (stated === null) return null;
  return { caPath: stated.ca, serverName: stated.serverName, verify: !stated.insecure };
}
