import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { LOCAL_CERTIFICATE_KEY_PEM, LOCAL_CERTIFICATE_PEM } from './certificate.ts';
import { temporaryDirectory } from './temp-dir.ts';

export interface MountedSecret {
  readonly certPath: string;
  readonly keyPath: string;
  replace(cert: string, key: string): void;
}

/**
 * A certificate (by default that of this machine) and its key, mounted like a Kubernetes secret: links into a directory
 * that is itself a link and is replaced as a whole.
 */
export function mountedSecret(cert = LOCAL_CERTIFICATE_PEM, key = LOCAL_CERTIFICATE_KEY_PEM): MountedSecret {
  const directory = temporaryDirectory();
  let version = 0;
  const replace = (newCert: string, newKey: string) => {
    version += 1;
    mkdirSync(`${directory}/v${version}`);
    writeFileSync(`${directory}/v${version}/tls.crt`, newCert);
    writeFileSync(`${directory}/v${version}/tls.key`, newKey);
    symlinkSync(`v${version}`, `${directory}/new`);
    renameSync(`${directory}/new`, `${directory}/data`);
  };
  replace(cert, key);
  symlinkSync('data/tls.crt', `${directory}/tls.crt`);
  symlinkSync('data/tls.key', `${directory}/tls.key`);
  return { certPath: `${directory}/tls.crt`, keyPath: `${directory}/tls.key`, replace };
}
