import { profilePage } from '../analysis/pages/profile-page.ts';
import { profileCsv } from '../analysis/profile/profile-csv.ts';
import { profileText } from '../analysis/profile/profile-text.ts';
import type { ProfileDocument } from '../documents/profile.ts';
import type { DocumentForms } from './document-outputs.ts';
import { pageAssets } from './page-assets.ts';
import type { ProfileForm } from './profile-options.ts';

/** A profile in all its forms. */
export function profileForms(document: ProfileDocument): DocumentForms<ProfileForm> {
  return {
    json: document,
    text: () => profileText(document),
    rendered: {
      html: { called: 'page', render: () => profilePage(document, pageAssets()) },
      csv: { called: 'table', render: () => profileCsv(document) },
    },
  };
}
