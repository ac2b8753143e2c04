/** The folder that this package's own modules lie in, as a URL: frames of a stack that begin there are not the user's. */
export const OWN_FOLDER_URL = new URL('..', import.meta.url).href
