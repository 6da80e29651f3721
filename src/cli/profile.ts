import { Command } from 'commander';
import { documentFromThread } from '../app/document-thread.ts';
import { encryptionKeyOf } from '../app/open-capture.ts';
import type { ProfileDocument } from '../documents/profile.ts';
import { writeOutputs } from './document-outputs.ts';
import { addOptions } from './flags.ts';
import { askedOf } from './options.ts';
import { PROFILE_OPTIONS, type ProfileOptions, resolveProfileOptions } from './profile-options.ts';
import { profileForms } from './profile-output.ts';
import { terminal } from './terminal.ts';

/** `reprise profile DIR`: the traffic of a capture in numbers. */
export function profileCommand(): Command {
  const command = new Command('profile')
    .description('Describe the traffic of a capture in numbers: no payload and no secret is in them.')
    .argument('<capture>', 'the directory of a capture')
    .action(async (directory: string, _: object, command: Command) => {
      await profile(directory, resolveProfileOptions(askedOf(command, PROFILE_OPTIONS)));
    });
  return addOptions(command, PROFILE_OPTIONS);
}

async function profile(directory: string, options: ProfileOptions): Promise<void> {
  // A key that is no key is refused here as everywhere.
  encryptionKeyOf(options);
  const document = await documentFromThread<ProfileDocument>('profiler', { directory, options });
  writeOutputs(profileForms(document), options.outputs, terminal);
}
