"""IBM Cloud Object Storage as a storage of wren, and what else speaks S3: the plugin is `storage`."""
