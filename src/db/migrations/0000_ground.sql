CREATE TABLE `audit` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`at_ms` integer NOT NULL,
	`who` text NOT NULL,
	`verb` text NOT NULL,
	`subject` text NOT NULL,
	`before` text,
	`after` text,
	`job_id` integer
);
--> statement-breakpoint
CREATE TABLE `content_needs` (
	`content_id` integer PRIMARY KEY NOT NULL,
	`packed` blob NOT NULL,
	FOREIGN KEY (`content_id`) REFERENCES `contents`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE TABLE `contents` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`group_id` integer NOT NULL,
	`segment_id` integer NOT NULL,
	`image_index` integer NOT NULL,
	`tree_sha1` text NOT NULL,
	`element` text NOT NULL,
	`facts` text NOT NULL,
	`bootable` integer NOT NULL,
	`rp_fix` integer NOT NULL,
	`view_bytes` integer NOT NULL,
	`created_at_ms` integer NOT NULL,
	FOREIGN KEY (`group_id`) REFERENCES `image_groups`(`id`) ON UPDATE no action ON DELETE no action,
	FOREIGN KEY (`segment_id`) REFERENCES `segments`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `contents_group` ON `contents` (`group_id`);--> statement-breakpoint
CREATE INDEX `contents_segment` ON `contents` (`segment_id`);--> statement-breakpoint
CREATE TABLE `damages` (
	`segment_id` integer NOT NULL,
	`sha1` text NOT NULL,
	`found_at_ms` integer NOT NULL,
	PRIMARY KEY(`segment_id`, `sha1`),
	FOREIGN KEY (`segment_id`) REFERENCES `segments`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE TABLE `doomed_files` (
	`file_name` text PRIMARY KEY NOT NULL,
	`group_id` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `image_groups` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`name` text NOT NULL,
	`folded` text NOT NULL,
	`description` text DEFAULT '' NOT NULL,
	`quota_bytes` integer,
	`audience` text,
	`trash_id` integer,
	`created_at_ms` integer NOT NULL,
	`changed_at_ms` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `image_groups_name` ON `image_groups` (`folded`) WHERE "image_groups"."trash_id" is null;--> statement-breakpoint
CREATE TABLE `install_images` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`group_id` integer NOT NULL,
	`content_id` integer NOT NULL,
	`name` text NOT NULL,
	`folded_name` text NOT NULL,
	`description` text NOT NULL,
	`file_name` text NOT NULL,
	`folded_file` text NOT NULL,
	`is_public` integer DEFAULT false NOT NULL,
	`enabled` integer DEFAULT true NOT NULL,
	`version` text DEFAULT '' NOT NULL,
	`comment` text DEFAULT '' NOT NULL,
	`architecture` text,
	`language` text,
	`display_order` integer,
	`boot_default` integer DEFAULT false NOT NULL,
	`audience` text,
	`trash_id` integer,
	`created_at_ms` integer NOT NULL,
	`changed_at_ms` integer NOT NULL,
	FOREIGN KEY (`group_id`) REFERENCES `image_groups`(`id`) ON UPDATE no action ON DELETE no action,
	FOREIGN KEY (`content_id`) REFERENCES `contents`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE UNIQUE INDEX `install_images_file` ON `install_images` (`group_id`,`folded_file`) WHERE "install_images"."trash_id" is null;--> statement-breakpoint
CREATE INDEX `install_images_name` ON `install_images` (`group_id`,`folded_name`);--> statement-breakpoint
CREATE INDEX `install_images_content` ON `install_images` (`content_id`);--> statement-breakpoint
CREATE TABLE `jobs` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`kind` text NOT NULL,
	`title` text NOT NULL,
	`group_id` integer,
	`state` text NOT NULL,
	`step` text NOT NULL,
	`done_bytes` integer DEFAULT 0 NOT NULL,
	`total_bytes` integer DEFAULT 0 NOT NULL,
	`started_by` text NOT NULL,
	`created_at_ms` integer NOT NULL,
	`ended_at_ms` integer,
	`error` text,
	`result` text
);
--> statement-breakpoint
CREATE TABLE `segment_leases` (
	`transmission_id` integer NOT NULL,
	`segment_id` integer NOT NULL,
	`position` integer NOT NULL,
	PRIMARY KEY(`transmission_id`, `segment_id`),
	FOREIGN KEY (`transmission_id`) REFERENCES `transmissions`(`id`) ON UPDATE no action ON DELETE cascade,
	FOREIGN KEY (`segment_id`) REFERENCES `segments`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `segment_leases_segment` ON `segment_leases` (`segment_id`);--> statement-breakpoint
CREATE TABLE `segments` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`group_id` integer NOT NULL,
	`file_name` text NOT NULL,
	`size_bytes` integer NOT NULL,
	`verified` integer NOT NULL,
	`blob_bytes` integer NOT NULL,
	`retired` integer DEFAULT false NOT NULL,
	`created_at_ms` integer NOT NULL,
	`scrubbed_at_ms` integer,
	FOREIGN KEY (`group_id`) REFERENCES `image_groups`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE UNIQUE INDEX `segments_file` ON `segments` (`group_id`,`file_name`);--> statement-breakpoint
CREATE TABLE `settings` (
	`key` text PRIMARY KEY NOT NULL,
	`value` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `tokens` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`role` text NOT NULL,
	`machine_groups` text DEFAULT '[]' NOT NULL,
	`secret_sha256` text NOT NULL,
	`created_at_ms` integer NOT NULL,
	`revoked_at_ms` integer,
	`used_at_ms` integer,
	`used_from` text
);
--> statement-breakpoint
CREATE UNIQUE INDEX `tokens_name` ON `tokens` ("name" collate nocase) WHERE "tokens"."revoked_at_ms" is null;--> statement-breakpoint
CREATE TABLE `transmissions` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`name` text NOT NULL,
	`content_id` integer,
	`image_id` integer,
	`home_segment_id` integer,
	`home_index` integer,
	`audiences` text DEFAULT '[]' NOT NULL,
	`kind` text DEFAULT 'auto' NOT NULL,
	`client_count` integer,
	`start_at_ms` integer,
	`started_at_ms` integer,
	`image_name` text NOT NULL,
	`description` text NOT NULL,
	`file_name` text NOT NULL,
	`group_name` text NOT NULL,
	`interface_name` text,
	`rate_bits_per_second` integer,
	`open` integer NOT NULL,
	`session` text,
	`created_by` text NOT NULL,
	`created_at_ms` integer NOT NULL,
	`ended_at_ms` integer,
	`reason` text,
	FOREIGN KEY (`content_id`) REFERENCES `contents`(`id`) ON UPDATE no action ON DELETE no action,
	FOREIGN KEY (`image_id`) REFERENCES `install_images`(`id`) ON UPDATE no action ON DELETE set null,
	FOREIGN KEY (`home_segment_id`) REFERENCES `segments`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE TABLE `trash` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`kind` text NOT NULL,
	`group_id` integer NOT NULL,
	`image_id` integer,
	`content_id` integer,
	`title` text NOT NULL,
	`removed_at_ms` integer NOT NULL,
	`removed_by` text NOT NULL,
	FOREIGN KEY (`group_id`) REFERENCES `image_groups`(`id`) ON UPDATE no action ON DELETE no action,
	FOREIGN KEY (`image_id`) REFERENCES `install_images`(`id`) ON UPDATE no action ON DELETE cascade,
	FOREIGN KEY (`content_id`) REFERENCES `contents`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `trash_content` ON `trash` (`content_id`);--> statement-breakpoint
CREATE TABLE `unattend_files` (
	`image_id` integer PRIMARY KEY NOT NULL,
	`text` text NOT NULL,
	`added_at_ms` integer NOT NULL,
	FOREIGN KEY (`image_id`) REFERENCES `install_images`(`id`) ON UPDATE no action ON DELETE cascade
);
