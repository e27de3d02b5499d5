SELECT EXISTS (SELECT FROM {draws} WHERE revision = 0 AND {rows})
