/**
 * The folder of this package's own modules, as a URL. Frames of a stack that begin with it are not the
 * user's.
 */
export const OWN_FOLDER_URL = new URL('..', import.meta.url).href
