CREATE TABLE `contents` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`group_id` integer NOT NULL,
	`segment_id` integer NOT NULL,
	`image_index` integer NOT NULL,
	`needs` blob NOT NULL,
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
CREATE TABLE `doomed_files` (
	`file_name` text PRIMARY KEY NOT NULL,
	`group_id` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `image_groups` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`name` text NOT NULL,
	`created_at_ms` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `image_groups_name` ON `image_groups` ("name" collate nocase);--> statement-breakpoint
CREATE TABLE `install_images` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`group_id` integer NOT NULL,
	`content_id` integer NOT NULL,
	`name` text NOT NULL,
	`description` text NOT NULL,
	`file_name` text NOT NULL,
	`is_public` integer DEFAULT false NOT NULL,
	`created_at_ms` integer NOT NULL,
	`changed_at_ms` integer NOT NULL,
	FOREIGN KEY (`group_id`) REFERENCES `image_groups`(`id`) ON UPDATE no action ON DELETE no action,
	FOREIGN KEY (`content_id`) REFERENCES `contents`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE UNIQUE INDEX `install_images_file` ON `install_images` (`group_id`,"file_name" collate nocase);--> statement-breakpoint
CREATE INDEX `install_images_content` ON `install_images` (`content_id`);--> statement-breakpoint
CREATE TABLE `jobs` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`kind` text NOT NULL,
	`title` text NOT NULL,
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
CREATE TABLE `segments` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`group_id` integer NOT NULL,
	`file_name` text NOT NULL,
	`size_bytes` integer NOT NULL,
	`verified` integer NOT NULL,
	`blob_bytes` integer NOT NULL,
	`created_at_ms` integer NOT NULL,
	FOREIGN KEY (`group_id`) REFERENCES `image_groups`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE UNIQUE INDEX `segments_file` ON `segments` (`group_id`,`file_name`);--> statement-breakpoint
CREATE TABLE `tokens` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`role` text NOT NULL,
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
	FOREIGN KEY (`content_id`) REFERENCES `contents`(`id`) ON UPDATE no action ON DELETE no action
);
